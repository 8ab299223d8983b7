// Which picture is shown, what comes before and after it.

import { get } from "../core/api.js";
import { computed, signal } from "../core/render.js";
import { isFinished, jobs, putJobs } from "../core/store.js";
import { entries, hiddenKeys, loadMore, readEntries } from "../gallery/listing.js";

const NEAR_END = 5;
const PAGE = 30;

/** `{job, number}` of the address. */
export const shown = signal({ job: "", number: 0 });
/** Why the job could not be fetched, or null. */
export const problem = signal(null);

export const shownKey = computed(() => `${shown.value.job}/${shown.value.number}`);
export const shownJob = computed(() => jobs.value.get(shown.value.job)?.value ?? null);
export const shownEntry = computed(() => (shownJob.value ? readEntries(shownJob.value).find((entry) => entry.number === shown.value.number) : undefined) ?? null);
/** The picture itself: null for answers, failures and deleted pictures. */
export const shownMedia = computed(() => shownJob.value?.result?.media[shown.value.number - 1] ?? null);

/** Without a gallery below: everything that is known, newest first. */
const known = computed(() => {
  const done = [...jobs.value.values()].map((one) => one.value).filter((job) => isFinished(job) && job.result);
  done.sort((one, other) => (one.created_at < other.created_at ? 1 : -1));
  return done.flatMap(readEntries).filter((entry) => !hiddenKeys.value.has(entry.key));
});

/** The gallery's order if the picture is in it. */
export const sequence = computed(() => (entries.value.some((entry) => entry.key === shownKey.value) ? entries.value : known.value));
export const position = computed(() => sequence.value.findIndex((entry) => entry.key === shownKey.value));
export const previous = computed(() => sequence.value[position.value - 1] ?? null);
export const next = computed(() => (position.value < 0 ? null : (sequence.value[position.value + 1] ?? null)));

let askedBefore = null;

/** Loads what follows while there is still something to look at. */
export async function loadAhead() {
  const all = sequence.peek();
  if (position.peek() < all.length - NEAR_END) return;
  if (all === entries.peek()) return void loadMore();
  const last = all.at(-1)?.job;
  if (!last || last === askedBefore) return;
  askedBefore = last;
  try {
    putJobs(...(await get(`/jobs?${new URLSearchParams({ results: "true", before: last, limit: String(PAGE) })}`)).jobs);
  } catch {
    askedBefore = null; // asked for again with the next step
  }
}
