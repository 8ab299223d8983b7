// Photos of the draft: dropped, pasted, picked or taken from the gallery.

import { signal } from "../core/render.js";
import { photoLimit } from "./capabilities.js";
import { newPhoto, photos } from "./draft.js";
import { setRefusal } from "./request.js";

/** Files that are being sent: `{key, name}`. */
export const uploads = signal([]);
/** A sentence about files that were not taken, or settings that do not fit. */
export const photoNote = signal("");
/** Whether files are being dragged over the page. */
export const isDropping = signal(false);

export const countInit = () => photos.peek().filter((photo) => photo.role === "init").length;
export const dropInit = () => (photos.value = photos.peek().filter((photo) => photo.role !== "init"));

/** Adds the first files that fit the mode. @param {Iterable<File>} files */
export async function addFiles(files) {
  const given = [...files];
  try {
    const { uploadFiles } = await import("../attach/uploads.js");
    await uploadFiles(given);
  } catch (error) {
    setRefusal(error);
  }
}

/** Adds a stored picture. @param {string} id @param {object} [said] */
export function addPhoto(id, said = {}) {
  if (photos.peek().some((photo) => photo.id === id && photo.role === (said.role ?? "init"))) return;
  photos.value = [...photos.peek(), newPhoto(id, said)];
}

/** Makes a stored picture the init photo, replacing others beyond the limit. @param {string} id @param {string} [name] */
export function startWithPhoto(id, name = "") {
  if (photoLimit.peek() <= 1 || countInit() >= photoLimit.peek()) dropInit();
  addPhoto(id, { name });
}
