// Keeps unfinished jobs up to date. A browser opens at most six connections to a server, shared by all tabs. Therefore
// only two jobs are streamed, running ones first; the others are polled together. A hidden tab has no streams.

import { followJob, get, Offline, Problem, setOnline } from "./api.js";

const MAX_STREAMS = 2;
const POLL_INTERVAL_MS = 3000;
const watchedJobs = new Map();
let pollTimer = null;

export const isFinished = (job) => !["queued", "running"].includes(job.state);

/** Calls `onChange(job, preview)` at each change until the job is finished; `preview` is a data URL or null. */
export function watchJob(job, onChange) {
  if (isFinished(job)) return;
  const entry = watchedJobs.get(job.id);
  if (entry) entry.onChange = onChange; // the gallery was rebuilt
  else watchedJobs.set(job.id, { job, onChange, stream: null });
  assignStreams();
}

/** Applies a change, also one that is known from elsewhere, such as the response to a cancellation. */
export function updateJob(job, preview = null) {
  const entry = watchedJobs.get(job.id);
  if (!entry) return;
  entry.job = job;
  if (isFinished(job)) stopWatching(job.id);
  entry.onChange(job, preview);
}

function stopWatching(id) {
  watchedJobs.get(id)?.stream?.abort();
  watchedJobs.delete(id);
  queueMicrotask(assignStreams);
}

function assignStreams() {
  const entries = [...watchedJobs.values()].sort(
    (one, other) =>
      (one.job.state !== "running") - (other.job.state !== "running") ||
      one.job.created_at.localeCompare(other.job.created_at),
  );
  entries.forEach((entry, index) => {
    const isStreamed = index < MAX_STREAMS && !document.hidden;
    if (isStreamed && !entry.stream) streamJob(entry);
    else if (!isStreamed && entry.stream) {
      entry.stream.abort();
      entry.stream = null;
    }
  });
  clearTimeout(pollTimer);
  if (entries.length > MAX_STREAMS && !document.hidden) pollTimer = setTimeout(pollJobs, POLL_INTERVAL_MS);
}

async function streamJob(entry) {
  const controller = new AbortController();
  entry.stream = controller;
  const id = entry.job.id;
  try {
    await followJob(id, controller.signal, (name, data) => {
      if (controller.signal.aborted) return;
      if (name === "state" || name === "result") {
        const isSameState = entry.job.state === data.state;
        updateJob(data);
        if (!isSameState) assignStreams();
      } else if (name === "progress") {
        const { phase, step, steps, eta_s, preview } = data;
        updateJob({ ...entry.job, state: "running", position: null, eta_s, progress: { phase, step, steps } }, preview);
      } else if (name === "error") void reloadJob(id, data);
    });
  } catch (error) {
    if (controller.signal.aborted) return;
    if (error instanceof Problem) updateJob({ ...entry.job, state: "failed", error: { code: error.code, message: error.message } });
    else throw error;
  }
}

/** After an `error` event the job itself tells whether it failed or was cancelled. */
async function reloadJob(id, error) {
  const entry = watchedJobs.get(id);
  if (!entry) return;
  try {
    updateJob(await get(`/jobs/${id}`));
  } catch {
    updateJob({ ...entry.job, state: error.code === "cancelled" ? "cancelled" : "failed", error });
  }
}

async function pollJobs() {
  try {
    const { jobs } = await get("/jobs?limit=100");
    setOnline(true);
    for (const job of jobs) if (watchedJobs.has(job.id) && !watchedJobs.get(job.id).stream) updateJob(job);
  } catch (error) {
    if (!(error instanceof Offline || error instanceof Problem)) throw error;
  }
  assignStreams();
}

document.addEventListener("visibilitychange", assignStreams);
