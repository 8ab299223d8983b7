// The stream of all events of a person's jobs. It is resumed where it ended; a hidden tab without unfinished jobs has
// none, because a browser opens at most six connections to a server, shared by all tabs.

import { get, Problem, request } from "./api.js";
import { connection, markOffline } from "./connection.js";
import { dropJobs, isFinished, jobs, loadUnfinished, putJobs, putProgress, queueCount, refreshQuota, session } from "./store.js";
import { effect, signal } from "./render.js";

const SILENCE_MS = 45_000;
const RETRY_MS = 1000;
const listeners = new Set();
const isHidden = signal(document.hidden);
let lastId = null;
let stream = null;

document.addEventListener("visibilitychange", () => (isHidden.value = document.hidden));

/**
 * Calls `listener(name, job)` after the store has changed: "added", "changed", "finished" or "erased".
 * @param {(name: string, job: object) => void} listener
 * @returns {() => void} ends it
 */
export function onJobEvent(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

const announceEvent = (name, job) => listeners.forEach((listener) => listener(name, job));

/** Keeps the store's jobs current from now on. */
export function startEvents() {
  effect(() => {
    const isNeeded = session.value === "ready" && connection.value === "online" && (!isHidden.value || queueCount.value > 0);
    if (isNeeded && !stream) {
      stream = new AbortController();
      void follow(stream.signal);
    } else if (!isNeeded && stream) {
      stream.abort();
      stream = null;
    }
  });
}

/** Stores a job from a response, such as that of POST /jobs. @param {object} job */
export function storeJob(job) {
  const known = jobs.peek().get(job.id)?.peek();
  putJobs(job);
  if (!known) announceEvent("added", job);
  if (isFinished(job) && !(known && isFinished(known))) {
    announceEvent("finished", job);
    void refreshQuota();
  } else if (known) announceEvent("changed", job);
}

/** Fetches a job and stores it. @param {string} id */
export async function fetchJob(id) {
  const job = await get(`/jobs/${id}`);
  storeJob(job);
  return job;
}

async function follow(signal) {
  while (!signal.aborted) {
    try {
      const headers = { Accept: "text/event-stream", ...(lastId && { "Last-Event-ID": lastId }) };
      const response = await request("/events", { signal, headers, cache: "no-store" });
      for await (const event of readEvents(response.body, signal)) take(event);
      markOffline(); // the server is shutting down; probing finds the next one
    } catch (error) {
      if (signal.aborted || error.name === "AbortError") return;
      if (!(error instanceof Problem)) markOffline();
      await sleep(error.retryAfterS ? error.retryAfterS * 1000 : RETRY_MS);
    }
  }
}

function take({ name, data, id }) {
  if (id) lastId = id;
  const jobId = data.job;
  if (name === "ready") {
    if (!data.resumed) void loadUnfinished();
  } else if (name === "state" || name === "result") storeJob(data);
  else if (name === "progress") putProgress(jobId, data);
  else if (name === "error") void fetchJob(jobId).catch(() => null);
  else if (name === "erased") {
    const known = jobs.peek().get(jobId)?.peek();
    dropJobs(jobId);
    announceEvent("erased", known ?? { id: jobId });
  }
}

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function* readEvents(body, signal) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  signal.addEventListener("abort", () => void reader.cancel().catch(() => null), { once: true });
  let buffer = "";
  for (;;) {
    const { value, done } = await withTimeout(reader.read());
    if (done) return;
    const blocks = (buffer + value).replaceAll("\r\n", "\n").split("\n\n");
    buffer = blocks.pop();
    for (const block of blocks) {
      const event = parseEvent(block);
      if (event) yield event;
    }
  }
}

/** A connection that is silent for long is dead: the server sends a comment every few seconds. */
function withTimeout(promise) {
  let timer;
  const silence = new Promise((_resolve, reject) => (timer = setTimeout(() => reject(new Error("silent")), SILENCE_MS)));
  return Promise.race([promise, silence]).finally(() => clearTimeout(timer));
}

function parseEvent(block) {
  let name = "message";
  let id = null;
  const data = [];
  for (const line of block.split("\n")) {
    const [field, text] = [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 1).replace(/^ /, "")];
    if (field === "event") name = text;
    else if (field === "id") id = text;
    else if (field === "data") data.push(text);
  }
  return data.length ? { name, id, data: JSON.parse(data.join("\n")) } : null;
}
