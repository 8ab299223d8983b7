// Results of the last request: its jobs, their pictures, and the chain of versions that were edited one after another.

import { remove } from "../core/api.js";
import { fetchJob, storeJob } from "../core/events.js";
import { navigate } from "../core/router.js";
import { computed, runOnSignals, signal, storedSignal } from "../core/render.js";
import { isFinished, jobSignal, person } from "../core/store.js";
import { t, tn } from "../core/text.js";
import { announce, showToast } from "../core/toast.js";
import { jobIds, lastIds, operations } from "./draft.js";
import { picture } from "../edit/picture.js";
import { isDrawing, shownResult } from "./viewport.js";

const MAX_CHAINS = 8;
const MAX_CHAIN = 40;

const chains = storedSignal(`edit.chains.${person.peek()?.name ?? ""}`, []);

/** Where the slider divides the picture: 0 shows only the result, 100 only the picture before. */
export const divider = signal(50);

/** Whether the mask was changed since the request that is running. */
export const isAhead = signal(false);
const revealed = signal(new Set());
/** Whether a result is blurred until it is revealed. @param {object} result */
export const isBlurred = (result) => result.spoiler && !revealed.value.has(result.id);
/** @param {object} result */
export const reveal = (result) => (revealed.value = new Set([...revealed.peek(), result.id]));

export const runJobs = computed(() => jobIds.value.map((id) => jobSignal(id)?.value).filter(Boolean));
export const runningJob = computed(() => runJobs.value.find((job) => job.state === "running") ?? runJobs.value.find((job) => !isFinished(job)) ?? null);
/** The jobs that were started last. */
export const lastJobs = computed(() => runJobs.value.filter((job) => lastIds.value.includes(job.id)));
/** Those of them that ended without a picture and were not cancelled. */
export const failedJobs = computed(() => lastJobs.value.filter((job) => isFinished(job) && job.state !== "cancelled" && !job.result?.media.some(Boolean)));
/** The pictures that were made: those of `result.media`, with `job`, `n`, `command`, `options` and `notes`. */
export const results = computed(() => runJobs.value.flatMap((job) => (job.result?.media ?? []).flatMap((media, index) => (media ? [{ ...media, job: job.id, n: index + 1, command: job.command, options: job.options, notes: job.result.notes }] : []))));

/** Shows results as they arrive, unless the mask was changed since; shows the mask again when it is changed. @returns {() => void} ends it */
export function startResults() {
  for (const id of jobIds.peek()) if (!jobSignal(id)) void fetchJob(id).catch(() => forgetJob(id));
  const [awaited, shown] = [new Set(), new Set()];
  let drawn = operations.peek();
  let [request, sent] = [lastIds.peek(), drawn];
  let wasRunning = false;
  return runOnSignals(() => {
    for (const job of runJobs.value) if (!isFinished(job) || lastIds.value.includes(job.id)) awaited.add(job.id);
    const made = results.value.filter((one) => awaited.has(one.job) && !shown.has(one.job));
    const isRunning = Boolean(runningJob.value);
    if (request !== lastIds.value) [request, sent] = [lastIds.value, operations.peek()];
    if (operations.value !== drawn || !results.value.some((one) => one.id === shownResult.peek()?.id)) shownResult.value = null;
    isAhead.value = isRunning && operations.value !== sent;
    if (made.length && !isRunning && !isDrawing.value) {
      made.forEach((one) => shown.add(one.job));
      if (operations.peek() === sent) showResult(made[0]);
      announce(tn(made.length, "Result ready.", "{n} results ready."));
    }
    if (isRunning !== wasRunning) requestAnimationFrame(keepFocus);
    [drawn, wasRunning] = [operations.value, isRunning];
  });
}

/** The button that had the focus has been replaced by another. */
function keepFocus() {
  if (document.activeElement === document.body) document.querySelector(".edit-run button")?.focus({ preventScroll: true });
}

const forgetJob = (id) => (jobIds.value = jobIds.peek().filter((other) => other !== id));

/** @param {object | null} result null: the mask again */
export function showResult(result) {
  divider.value = 50;
  shownResult.value = result;
  if (result) showStage();
}

/** On a phone the stage may be above what is in view. */
export const showStage = () => requestAnimationFrame(() => document.querySelector(".edit-work")?.scrollIntoView({ block: "start" }));

export async function cancelRun() {
  for (const job of runJobs.peek().filter((one) => !isFinished(one))) {
    try {
      storeJob(await remove(`/jobs/${job.id}`));
    } catch (error) {
      showToast(error.message, { kind: "error" });
    }
  }
}

/** The pictures of the chain that this one belongs to, in their order. */
export const chain = computed(() => chains.value.find((ids) => ids.includes(picture.value?.id)) ?? []);
export const chainIndex = computed(() => chain.value.indexOf(picture.value?.id));

/** Continues with a result: it becomes the edited picture. @param {{id: string}} result */
export function editResult({ id }) {
  const current = picture.peek().id;
  const own = chain.peek();
  const before = own.length ? own.slice(0, chainIndex.peek() + 1) : [current];
  const next = [...before.filter((other) => other !== id), id].slice(-MAX_CHAIN);
  chains.value = [next, ...chains.peek().filter((ids) => ids !== own && !ids.includes(id))].slice(0, MAX_CHAINS);
  announce(t("Now editing the result."));
  return navigate(`/edit/${id}`);
}

/** Opens the previous or next version in the chain. @param {number} step 1 or -1 */
export function stepInChain(step) {
  const id = chain.peek()[chainIndex.peek() + step];
  if (id) void navigate(`/edit/${id}`);
}
