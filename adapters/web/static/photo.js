// The photo on the desk: chosen, dropped, pasted, or one of the pictures on the wall.

import { pictureUrl, upload } from "./api.js";
import { announce, byId } from "./dom.js";
import { recall, showStrength } from "./options.js";

let present = null;
let complain = () => {};

/** `{ id, parameters }`, or null. */
export const photo = () => present;

export function setUpPhoto(whenWrong) {
  complain = whenWrong;
  const file = byId("file");
  byId("choose-photo").addEventListener("click", () => file.click());
  file.addEventListener("change", () => (take(file.files[0]), (file.value = "")));
  byId("photo-remove").addEventListener("click", () => (clearPhoto(), byId("prompt").focus()));
  byId("photo-recall").addEventListener("click", useSettings);
  byId("prompt").addEventListener("paste", (event) => {
    const pasted = [...event.clipboardData.files].find((one) => one.type.startsWith("image/"));
    if (pasted) (event.preventDefault(), take(pasted));
  });
  setUpDrop();
}

function setUpDrop() {
  const drop = byId("drop");
  const hasFile = (event) => [...(event.dataTransfer?.types || [])].includes("Files");
  window.addEventListener("dragover", (event) => {
    if (!hasFile(event)) return;
    event.preventDefault();
    drop.hidden = false;
  });
  window.addEventListener("dragleave", (event) => {
    if (event.relatedTarget === null) drop.hidden = true;
  });
  window.addEventListener("drop", (event) => {
    drop.hidden = true;
    if (!hasFile(event)) return;
    event.preventDefault();
    take(event.dataTransfer.files[0]);
  });
}

async function take(file) {
  if (!file) return;
  complain("");
  const limit = Number(document.body.dataset.maxUploadMb);
  if (file.size > limit * 2 ** 20) {
    complain(`The picture is too large: at most ${limit} MiB.`);
    return;
  }
  byId("sheet").setAttribute("aria-busy", "true");
  try {
    const kept = await upload(file);
    await showPhoto(kept, `${file.name}, ${kept.width} × ${kept.height}`);
  } catch (error) {
    complain(error.message, "file");
  } finally {
    byId("sheet").removeAttribute("aria-busy");
  }
}

/** Put a stored picture on the desk. */
export async function showPhoto(kept, words) {
  present = kept;
  const image = byId("photo-image");
  image.src = await pictureUrl(kept.id);
  image.alt = words;
  byId("photo-note").textContent = `${words}. Imagine from it, ask about it, or have it captioned.`;
  byId("photo-recall").hidden = !kept.parameters?.options?.prompt;
  show(true);
  announce("The photo is ready.");
  byId("prompt").focus();
}

export function clearPhoto() {
  present = null;
  byId("photo-image").removeAttribute("src");
  show(false);
}

function show(isThere) {
  byId("photo").hidden = !isThere;
  byId("ask-photo").hidden = byId("caption-photo").hidden = !isThere;
  byId("choose-photo").textContent = isThere ? "Another photo" : "Add a photo";
  byId("imagine").textContent = isThere ? "Imagine from it" : "Imagine";
  byId("prompt").placeholder = isThere ? "a prompt, or a question about the photo" : "a red circle on a blue background";
  showStrength(isThere);
}

/** A picture that was made by a program like this one says how. */
function useSettings() {
  const { options } = present.parameters;
  byId("prompt").value = options.prompt;
  recall(options);
  clearPhoto();
  byId("prompt").focus();
}
