// The shown picture, and the ones before and after it.

import { computed, signal } from "../core/render.js";
import { background } from "../core/router.js";
import { jobs, spoilers } from "../core/store.js";
import { entries, hiddenKeys, isComplete, loadMore, readEntries, total } from "../gallery/listing.js";

const NEAR_END = 5;

/** `{job, number}` of the address. */
export const shown = signal({ job: "", number: 0 });
/** Ids of blurred pictures that were revealed. */
export const revealed = signal(new Set());
/** @param {string} id */
export const isBlurred = (id) => spoilers.has(id) && !revealed.value.has(id);
/** Why the job could not be fetched, or null. */
export const problem = signal(null);

export const shownKey = computed(() => `${shown.value.job}/${shown.value.number}`);
export const shownJob = computed(() => jobs.value.get(shown.value.job)?.value ?? null);
export const shownEntry = computed(() => (shownJob.value ? readEntries(shownJob.value).find((entry) => entry.number === shown.value.number) : undefined) ?? null);
/** The picture itself: null for answers, failures and deleted pictures. */
export const shownMedia = computed(() => shownJob.value?.result?.media[shown.value.number - 1] ?? null);

/** The module of what was made before and after, once it is loaded: not for pictures that the gallery lists. */
const neighbours = signal(null);
const stretch = computed(() => (neighbours.value?.stretch.value ?? []).flatMap(({ id }) => {
  const job = jobs.value.get(id)?.value;
  return job ? readEntries(job).filter((entry) => !hiddenKeys.value.has(entry.key)) : [];
}));
const listed = computed(() => background.value?.module?.cells?.value.flatMap(readEntries) ?? entries.value);
const isListed = computed(() => listed.value.some((entry) => entry.key === shownKey.value));

/** The order of the grid below, or the gallery's, if the picture is in it. */
export const sequence = computed(() => (isListed.value ? listed.value : stretch.value));
/** Whether the place of a picture in `sequence` is its place among all, and whether there are more than these. */
export const isCounted = computed(() => isListed.value || neighbours.value?.reached.value.after);
export const isOpenEnded = computed(() => (isListed.value ? listed.value === entries.value && !isComplete.value && total.value > entries.value.length : !neighbours.value?.reached.value.before));
export const position = computed(() => sequence.value.findIndex((entry) => entry.key === shownKey.value));
export const previous = computed(() => sequence.value[position.value - 1] ?? null);
export const next = computed(() => (position.value < 0 ? null : (sequence.value[position.value + 1] ?? null)));

/** Loads what comes before and after while there is still something to look at. */
export async function loadAhead() {
  if (isListed.peek()) return void (listed.peek() === entries.peek() && position.peek() >= sequence.peek().length - NEAR_END && loadMore());
  const { loadNeighbours } = neighbours.value = await import("../neighbours/neighbours.js");
  if (shownJob.peek() && !isListed.peek()) loadNeighbours(shownJob.peek());
}
