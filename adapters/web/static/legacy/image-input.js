// The input picture in the composer: chosen, dropped, pasted, or taken from the gallery.

import { imageUrl, upload } from "./api.js";
import { announce, byId, setText } from "./dom.js";
import { restoreOptions, showStrength } from "./options.js";

let current = null;
let showError = () => {};

/** `{ id, parameters }`, or null. */
export const inputImage = () => current;

export function setUpImageInput(onError) {
  showError = onError;
  const file = byId("image-file");
  byId("choose-image").addEventListener("click", () => file.click());
  file.addEventListener("change", () => (uploadImage(file.files[0]), (file.value = "")));
  byId("remove-input-image").addEventListener("click", () => (clearInputImage(), byId("prompt").focus()));
  byId("use-settings").addEventListener("click", useSettings);
  byId("prompt").addEventListener("paste", (event) => {
    const pasted = [...event.clipboardData.files].find((one) => one.type.startsWith("image/"));
    if (pasted) (event.preventDefault(), uploadImage(pasted));
  });
  setUpDrop();
}

function setUpDrop() {
  const overlay = byId("drop-overlay");
  const hasFile = (event) => [...(event.dataTransfer?.types || [])].includes("Files");
  window.addEventListener("dragover", (event) => {
    if (!hasFile(event)) return;
    event.preventDefault();
    overlay.hidden = false;
  });
  window.addEventListener("dragleave", (event) => {
    if (event.relatedTarget === null) overlay.hidden = true;
  });
  window.addEventListener("drop", (event) => {
    overlay.hidden = true;
    if (!hasFile(event)) return;
    event.preventDefault();
    uploadImage(event.dataTransfer.files[0]);
  });
}

async function uploadImage(file) {
  if (!file) return;
  showError("");
  setText(byId("settings-notes"), "");
  const { maxUploadMb, tooLarge } = document.body.dataset;
  if (file.size > Number(maxUploadMb) * 2 ** 20) {
    showError(tooLarge);
    return;
  }
  byId("prompt-box").setAttribute("aria-busy", "true");
  try {
    const image = await upload(file);
    await showInputImage(image, `${file.name}, ${image.width} × ${image.height}`);
  } catch (error) {
    showError(error.message, "file");
  } finally {
    byId("prompt-box").removeAttribute("aria-busy");
  }
}

/** Shows a stored picture as the composer's input. */
export async function showInputImage(image, title) {
  current = image;
  const preview = byId("input-image-preview");
  preview.src = await imageUrl(image.id);
  preview.alt = title;
  byId("input-image-note").textContent = `${title}. Imagine from it, ask about it, or caption it.`;
  byId("use-settings").hidden = !image.parameters?.options?.prompt;
  setHasImage(true);
  announce("The picture is ready.");
  byId("prompt").focus();
}

export function clearInputImage() {
  current = null;
  byId("input-image-preview").removeAttribute("src");
  setHasImage(false);
}

function setHasImage(hasImage) {
  byId("input-image").hidden = !hasImage;
  byId("ask-image").hidden = byId("caption-image").hidden = !hasImage;
  byId("choose-image").textContent = hasImage ? "Another picture" : "Add a picture";
  byId("imagine").textContent = hasImage ? "Imagine from it" : "Imagine";
  byId("prompt").placeholder = hasImage ? "a prompt, or a question about the picture" : "a red circle on a blue background";
  showStrength(hasImage);
}

/** Restores the prompt and options from the picture's generation parameters, as far as they are possible here. */
function useSettings() {
  const { options, fitted = options, notes = [] } = current.parameters;
  byId("prompt").value = fitted.prompt ?? "";
  restoreOptions(fitted);
  clearInputImage();
  setText(byId("settings-notes"), notes.join(" "));
  byId("prompt").focus();
}
