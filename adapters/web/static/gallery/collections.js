// Collections: named sets of pictures. Their dialogs are loaded on demand.

import { get, remove } from "../core/api.js";
import { signal } from "../core/render.js";
import { loadStyle } from "../core/router.js";
import { jobSignal } from "../core/store.js";
import { t, tn } from "../core/text.js";
import { showToast } from "../core/toast.js";

/** All collections, by name; null: not loaded. */
export const collections = signal(null);

export async function loadCollections() {
  try {
    collections.value = (await get("/collections")).collections;
  } catch (error) {
    collections.value ??= [];
    showToast(error.message, { kind: "error" });
  }
}

/** Updates a picture's collections in the store. @param {{job: string, number: number}} picture @param {(ids: string[]) => string[]} change */
export function changeCollections({ job, number }, change) {
  const known = jobSignal(job);
  const result = known?.peek().result;
  const media = result?.media[number - 1];
  if (media) known.value = { ...known.peek(), result: { ...result, media: result.media.with(number - 1, { ...media, collections: change(media.collections) }) } };
}

/** @param {string} id of the collection @param {import("./actions.js").Picture[]} pictures */
export async function removeFrom(id, pictures) {
  try {
    for (const { job, number } of pictures) {
      await remove(`/collections/${id}/pictures/${job}/${number}`);
      changeCollections({ job, number }, (ids) => ids.filter((other) => other !== id));
    }
    showToast(tn(pictures.length, "Removed from the collection.", "{n} pictures removed from the collection."));
  } catch (error) {
    showToast(error.message, { kind: "error" });
  }
  void loadCollections();
}


async function openDialogs() {
  const [dialogs] = await Promise.all([import("../collections/collections.js"), loadStyle("collections")]);
  return dialogs;
}

/** Asks which collection the pictures go into, and adds them. @param {import("./actions.js").Picture[]} given */
export async function collect(given) {
  const pictures = given.filter((one) => one.kind === "picture");
  if (!pictures.length) return void showToast(t("Only pictures can be added to collections."));
  return (await openDialogs()).collectPictures(pictures);
}

/** Lists the collections, to open, rename, delete and create them. @param {(id: string) => void} onOpen */
export const manageCollections = async (onOpen) => (await openDialogs()).listCollections(onOpen);
