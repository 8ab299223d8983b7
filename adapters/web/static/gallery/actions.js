// Actions on pictures in the grid and the viewer: favourite, delete with undo, download.

import { post, put, remove } from "../core/api.js";
import { batch } from "../core/render.js";
import { dropJobs, jobSignal } from "../core/store.js";
import { announce, showToast, showUndo } from "../core/toast.js";
import { tn } from "../core/text.js";
import { hiddenKeys } from "./listing.js";

const MAX_TOGETHER = 1000;
const CONCURRENT = 4;

/** @typedef {{key: string, job: string, number: number, kind: string}} Picture */

const pathOf = ({ job, number }) => `/jobs/${job}/pictures/${number}`;
const isPicture = ({ kind }) => kind === "picture";

/** Runs `work` for all, a few at the same time; returns the errors. */
async function runAll(items, work) {
  const waiting = [...items];
  const errors = [];
  const runNext = async () => {
    for (let item = waiting.shift(); item; item = waiting.shift()) await work(item).catch((error) => errors.push({ item, error }));
  };
  await Promise.all(Array.from({ length: CONCURRENT }, runNext));
  return errors;
}

/** Updates one picture in the store. */
function changeMedia({ job, number }, changes) {
  const known = jobSignal(job);
  const result = known?.peek().result;
  if (!result?.media[number - 1]) return;
  const media = result.media.map((one, index) => (index === number - 1 ? { ...one, ...changes(one) } : one));
  known.value = { ...known.peek(), result: { ...result, media } };
}

export const isFavourite = ({ job, number }) => Boolean(jobSignal(job)?.value.result?.media[number - 1]?.favourite);

/** Optimistic: reverted if the server refuses. @param {Picture[]} pictures @param {boolean} wanted */
export async function setFavourite(pictures, wanted) {
  const changed = pictures.filter((one) => isPicture(one) && isFavourite(one) !== wanted);
  const mark = (items, favourite) => batch(() => items.forEach((one) => changeMedia(one, () => ({ favourite }))));
  mark(changed, wanted);
  const errors = await runAll(changed, (one) => (wanted ? put(`${pathOf(one)}/favourite`) : remove(`${pathOf(one)}/favourite`)));
  mark(errors.map(({ item }) => item), !wanted);
  if (errors.length) showToast(errors[0].error.message, { kind: "error" });
  else if (changed.length) announce(wanted ? tn(changed.length, "Added to favourites", "{n} pictures added to favourites") : tn(changed.length, "Removed from favourites", "{n} pictures removed from favourites"));
}

/** All of them become favourites, or, if all are, none. @param {Picture[]} pictures */
export const toggleFavourite = (pictures) => setFavourite(pictures, !pictures.filter(isPicture).every(isFavourite));

function hide(pictures, isHidden) {
  const keys = new Set(hiddenKeys.peek());
  for (const { key } of pictures) isHidden ? keys.add(key) : keys.delete(key);
  hiddenKeys.value = keys;
}

/** Whole jobs where no picture would be left, otherwise single pictures. */
function planDeletion(pictures) {
  const plan = { jobs: [], single: [] };
  for (const [id, chosen] of Map.groupBy(pictures, (one) => one.job)) {
    const left = jobSignal(id)?.peek().result?.media.filter(Boolean).length ?? 0;
    if (chosen.length >= left) plan.jobs.push(id);
    else plan.single.push(...chosen);
  }
  return plan;
}

/**
 * Hides pictures now and deletes them when the undo period ends.
 * @param {Picture[]} pictures
 * @param {{onUndo?: () => void}} [options]
 */
export function deletePictures(pictures, { onUndo = () => {} } = {}) {
  if (!pictures.length) return;
  hide(pictures, true);
  const undo = () => {
    hide(pictures, false);
    onUndo();
  };
  showUndo(tn(pictures.length, "Deleted.", "{n} deleted."), { undo, commit: ({ keepalive }) => commitDeletion(pictures, keepalive) });
}

/** In few requests: browsers send about 250 after a page was closed, and 64 KiB. */
const commitDeletion = (pictures, keepalive) => Promise.all(
  Array.from({ length: Math.ceil(pictures.length / MAX_TOGETHER) }, (_none, at) => eraseTogether(pictures.slice(at * MAX_TOGETHER, (at + 1) * MAX_TOGETHER), keepalive)),
);

async function eraseTogether(pictures, keepalive) {
  const { jobs, single } = planDeletion(pictures);
  try {
    await post("/erase", { jobs, pictures: single.map(({ job, number }) => ({ job, n: number })) }, { keepalive });
    batch(() => {
      dropJobs(...jobs);
      single.forEach(removeMedia);
    });
  } catch (error) {
    hide(pictures, false);
    showToast(error.message, { kind: "error" });
  }
}

function removeMedia({ job, number }) {
  const known = jobSignal(job);
  const result = known?.peek().result;
  if (result?.media[number - 1]) known.value = { ...known.peek(), result: { ...result, media: result.media.with(number - 1, null) } };
}

/** Downloads a zip of pictures, with a JSON file for each. @param {Picture[]} pictures */
export const downloadZip = async (pictures) => (await import("../zips/zips.js")).downloadZip(pictures);
