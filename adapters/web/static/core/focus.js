// Restores the focus after the focused element was removed.

const nextFrame = () => new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)));

/** Once the view has rendered: to the first element of these selectors, else to the heading. @param {...string} selectors */
export async function restoreFocus(...selectors) {
  await nextFrame();
  if (document.activeElement && document.activeElement !== document.body) return;
  const element = selectors.map((selector) => document.querySelector(selector)).find(Boolean) ?? document.querySelector("main h1");
  if (element?.matches("h1, h2")) element.tabIndex = -1;
  element?.focus({ preventScroll: Boolean(element.matches("h1")) });
}
