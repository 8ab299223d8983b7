// Masks that are not drawn: regions found by words, and files.

import { post, remove, upload } from "../core/api.js";
import { fetchJob, onJobEvent, storeJob } from "../core/events.js";
import { signal } from "../core/render.js";
import { isFinished, jobSignal, uploadLimits } from "../core/store.js";
import { t } from "../core/text.js";
import { announce } from "../core/toast.js";
import { addOperation } from "./draft.js";
import { picture } from "../edit/picture.js";

const MAX_SHAPE_DIFFERENCE = 0.1;

export const regionWords = signal("");
/** The id of the job that looks for the region, "" while it is being sent, or null. */
export const searching = signal(null);
/** `{message, isError, notes}` about the last region or file, or null. */
export const regionNote = signal(null);

const tell = (message, isError = false, notes = []) => {
  regionNote.value = { message, isError, notes };
  if (!isError) announce(message);
};

/** Finds a region by words, and adds it to the mask or erases it. @param {boolean} erase */
export async function findRegion(erase = false) {
  const [region, { id }] = [regionWords.peek().trim(), picture.peek()];
  if (!region || searching.peek() !== null) return;
  searching.value = "";
  regionNote.value = null;
  try {
    const accepted = await post("/jobs", { command: "preview", options: { what: "region", region }, images: [{ id, role: "init" }] });
    searching.value = accepted.id;
    const job = await waitFor(accepted.id);
    if (picture.peek()?.id === id) addRegion(job, region, erase);
  } catch (error) {
    tell(error.message, true);
  } finally {
    searching.value = null;
  }
}

function addRegion(job, region, erase) {
  const media = job.result?.media.find(Boolean);
  if (!media) return void (job.state === "cancelled" ? (regionNote.value = null) : tell(job.error?.message ?? t("Not found in the picture."), true));
  addOperation({ kind: "image", erase, media: media.id, label: region });
  tell(t("Found: {words}.", { words: region }), false, job.result.notes);
  regionWords.value = "";
}

/** The job once it is finished. */
async function waitFor(id) {
  let stop = () => {};
  const done = new Promise((resolve) => {
    stop = onJobEvent((_name, job) => job.id === id && (isFinished({ state: "cancelled", ...job }) ? resolve(job) : null));
  });
  try {
    const job = await fetchJob(id);
    return isFinished(job) ? job : await done;
  } finally {
    stop();
  }
}

export async function cancelSearch() {
  try {
    storeJob(await remove(`/jobs/${searching.peek()}`));
  } catch (error) {
    tell(error.message, true);
  }
}

/** Adds a mask file. @param {File} file */
export async function addMaskFile(file) {
  regionNote.value = null;
  try {
    if (file.size > uploadLimits.maxFileMb * 2 ** 20) throw new Error(uploadLimits.tooLarge);
    const mask = await upload(file);
    const { width, height } = picture.peek();
    const ratio = (mask.width * height) / (mask.height * width);
    if (ratio < 1 - MAX_SHAPE_DIFFERENCE || ratio > 1 / (1 - MAX_SHAPE_DIFFERENCE)) {
      const sizes = { mask: `${mask.width}×${mask.height}`, picture: `${width}×${height}` };
      throw new Error(t("The mask is {mask} but the picture is {picture}. Use a mask with the same aspect ratio; any size works.", sizes));
    }
    addOperation({ kind: "image", media: mask.id, label: file.name });
    tell(t("Mask added."));
  } catch (error) {
    tell(error.message, true);
  }
}

/** Search words belong to one picture. */
export function resetRegions() {
  regionWords.value = "";
  regionNote.value = null;
}

/** The signal of the job that looks for the region, if it is known. */
export const searchJob = () => (searching.value ? jobSignal(searching.value)?.value : null);
