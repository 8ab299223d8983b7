// What the last request made: its jobs, their pictures, and the chain of pictures that were edited one after another.

import { remove } from "../core/api.js";
import { fetchJob, takeJob } from "../core/events.js";
import { navigate } from "../core/router.js";
import { computed, runOnSignals, signal, storedSignal } from "../core/render.js";
import { isFinished, jobSignal, person } from "../core/store.js";
import { t, tn } from "../core/text.js";
import { announce, showToast } from "../core/toast.js";
import { jobIds } from "./draft.js";
import { picture } from "./picture.js";
import { shownResult } from "./viewport.js";

const MAX_CHAINS = 8;
const MAX_CHAIN = 40;

const chains = storedSignal(`edit.chains.${person.peek()?.name ?? ""}`, []);

/** Where the slider divides the picture: 0 shows only the result, 100 only the picture before. */
export const divider = signal(50);

export const runJobs = computed(() => jobIds.value.map((id) => jobSignal(id)?.value).filter(Boolean));
export const runningJob = computed(() => runJobs.value.find((job) => job.state === "running") ?? runJobs.value.find((job) => !isFinished(job)) ?? null);
/** Jobs that ended without a picture and were not cancelled. */
export const failedJobs = computed(() => runJobs.value.filter((job) => isFinished(job) && job.state !== "cancelled" && !job.result?.media.some(Boolean)));
/** The pictures that were made: those of `result.media`, with `job`, `n` and `command`. */
export const results = computed(() => runJobs.value.flatMap((job) => (job.result?.media ?? []).flatMap((media, index) => (media ? [{ ...media, job: job.id, n: index + 1, command: job.command, options: job.options }] : []))));
export const resultNotes = computed(() => [...new Set(runJobs.value.flatMap((job) => job.result?.notes ?? []))]);

/** Shows the results as they arrive. @returns {() => void} ends it */
export function startResults() {
  let seen = results.peek().length;
  for (const id of jobIds.peek()) if (!jobSignal(id)) void fetchJob(id).catch(() => forgetJob(id));
  return runOnSignals(() => {
    const made = results.value;
    if (made.length > seen && !runningJob.value) {
      showResult(made[seen]);
      announce(tn(made.length - seen, "The result is ready.", "{n} results are ready."));
    }
    if (!runningJob.value || made.length < seen) seen = made.length;
    if (shownResult.value && !made.some((one) => one.id === shownResult.value.id)) shownResult.value = null;
  });
}

const forgetJob = (id) => (jobIds.value = jobIds.peek().filter((other) => other !== id));

/** @param {object | null} result null: the mask again */
export function showResult(result) {
  divider.value = 50;
  shownResult.value = result;
}

export async function cancelRun() {
  for (const job of runJobs.peek().filter((one) => !isFinished(one))) {
    try {
      takeJob(await remove(`/jobs/${job.id}`));
    } catch (error) {
      showToast(error.message, { kind: "error" });
    }
  }
}

/** The pictures of the chain that this one belongs to, in their order. */
export const chain = computed(() => chains.value.find((ids) => ids.includes(picture.value?.id)) ?? []);
export const chainIndex = computed(() => chain.value.indexOf(picture.value?.id));

/** Goes on with a result: it becomes the picture that is edited. @param {{id: string}} result */
export function editResult({ id }) {
  const current = picture.peek().id;
  const own = chain.peek();
  const before = own.length ? own.slice(0, chainIndex.peek() + 1) : [current];
  const next = [...before.filter((other) => other !== id), id].slice(-MAX_CHAIN);
  chains.value = [next, ...chains.peek().filter((ids) => ids !== own && !ids.includes(id))].slice(0, MAX_CHAINS);
  announce(t("The result is edited now."));
  return navigate(`/edit/${id}`);
}

/** Goes to the picture before or after this one in its chain. @param {number} step 1 or -1 */
export function stepInChain(step) {
  const id = chain.peek()[chainIndex.peek() + step];
  if (id) void navigate(`/edit/${id}`);
}
