// Keeps unfinished jobs up to date. A browser opens six connections to a server at most, for all its tabs together:
// two jobs are streamed, the one that runs first; the others are asked about together, now and then. A hidden tab
// holds no stream.

import { follow, get, Offline, Problem, setOnline } from "./api.js";

const STREAMS = 2;
const ASK_MS = 3000;
const watched = new Map();
let asking = null;

export const isOver = (job) => !["queued", "running"].includes(job.state);

/** Calls `onChange(job, preview)` at each change until the job is over; `preview` is a data URL or null. */
export function watch(job, onChange) {
  if (isOver(job)) return;
  const known = watched.get(job.id);
  if (known) known.onChange = onChange; // the wall was built anew
  else watched.set(job.id, { job, onChange, stream: null });
  arrange();
}

/** Something is known from elsewhere, such as the answer to a cancel. */
export function learn(job, preview = null) {
  const entry = watched.get(job.id);
  if (!entry) return;
  entry.job = job;
  if (isOver(job)) drop(job.id);
  entry.onChange(job, preview);
}

function drop(id) {
  watched.get(id)?.stream?.abort();
  watched.delete(id);
  queueMicrotask(arrange);
}

function arrange() {
  const entries = [...watched.values()].sort(
    (one, other) =>
      (one.job.state !== "running") - (other.job.state !== "running") ||
      one.job.created_at.localeCompare(other.job.created_at),
  );
  entries.forEach((entry, index) => {
    const isStreamed = index < STREAMS && !document.hidden;
    if (isStreamed && !entry.stream) stream(entry);
    else if (!isStreamed && entry.stream) {
      entry.stream.abort();
      entry.stream = null;
    }
  });
  clearTimeout(asking);
  if (entries.length > STREAMS && !document.hidden) asking = setTimeout(ask, ASK_MS);
}

async function stream(entry) {
  const control = new AbortController();
  entry.stream = control;
  const id = entry.job.id;
  try {
    await follow(id, control.signal, (name, data) => {
      if (control.signal.aborted) return;
      if (name === "state" || name === "result") {
        const hadBegun = entry.job.state === data.state;
        learn(data);
        if (!hadBegun) arrange();
      } else if (name === "progress") {
        const { step, steps, eta_s, preview } = data;
        learn({ ...entry.job, state: "running", position: null, eta_s, progress: { step, steps } }, preview);
      } else if (name === "error") void refetch(id, data);
    });
  } catch (error) {
    if (control.signal.aborted) return;
    if (error instanceof Problem) learn({ ...entry.job, state: "failed", error: { code: error.code, message: error.message } });
    else throw error;
  }
}

/** An ending without a result: the job itself says whether it failed or was cancelled. */
async function refetch(id, error) {
  const entry = watched.get(id);
  if (!entry) return;
  try {
    learn(await get(`/jobs/${id}`));
  } catch {
    learn({ ...entry.job, state: error.code === "cancelled" ? "cancelled" : "failed", error });
  }
}

async function ask() {
  try {
    const { jobs } = await get("/jobs?limit=100");
    setOnline(true);
    for (const job of jobs) if (watched.has(job.id) && !watched.get(job.id).stream) learn(job);
  } catch (error) {
    if (!(error instanceof Offline || error instanceof Problem)) throw error;
  }
  arrange();
}

document.addEventListener("visibilitychange", arrange);
