// Small helpers around the DOM. Text always goes in as text: nothing here parses HTML.

export const byId = (id) => document.getElementById(id);

/** An element: `h("p", { class: "error", hidden: true }, "words", child)`; functions become listeners. */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, String(value));
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Shows `words` in an element, or hides it when there are none. */
export function say(element, words) {
  if (element.textContent !== words) element.textContent = words;
  element.hidden = !words;
}

let lastSaid = "";

/** Tells a screen reader. */
export function announce(words) {
  const status = byId("status");
  status.textContent = words === lastSaid ? `${words}\u00a0` : words;
  lastSaid = status.textContent;
}

export function seconds(value) {
  if (value === null || value === undefined) return "";
  if (value < 1) return "under a second";
  if (value < 90) return `about ${Math.round(value)} s`;
  return value < 5400 ? `about ${Math.round(value / 60)} min` : `about ${Math.round(value / 3600)} h`;
}

const DAY = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
const HOUR = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });

export function moment(iso) {
  const when = new Date(iso);
  return (when.toDateString() === new Date().toDateString() ? HOUR : DAY).format(when);
}
