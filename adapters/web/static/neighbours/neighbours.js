// What was made before and after a picture whose address was opened: a stretch of the history without gaps, which grows
// at both ends while somebody steps through it.

import { get } from "../core/api.js";
import { onJobEvent } from "../core/events.js";
import { batch, signal } from "../core/render.js";
import { jobs, putJobs } from "../core/store.js";

const NEAR_END = 5;
const PAGE = 20;

/** `{id, createdAt}` of its jobs, newest first. @type {import("../core/libraries.d.ts").Signal<{id: string, createdAt: string}[]>} */
export const stretch = signal([]);
/** Whether nothing newer ("after") and nothing older ("before") is left to load. */
export const reached = signal({ after: false, before: false });

/** The ends that are being loaded: a set of its own for each stretch. */
let loading = new Set();

const placeOf = (job) => ({ id: job.id, createdAt: job.created_at });
const indexOf = (id) => stretch.peek().findIndex((one) => one.id === id);

/** Loads what is near this job and not known yet. @param {object} job */
export function loadNeighbours(job) {
  if (indexOf(job.id) < 0) begin(job);
  const index = indexOf(job.id);
  if (index < NEAR_END) void extend("after");
  if (index >= stretch.peek().length - NEAR_END) void extend("before");
}

function begin(job) {
  loading = new Set();
  batch(() => {
    stretch.value = [placeOf(job)];
    reached.value = { after: false, before: false };
  });
}

/** @param {"after" | "before"} end */
async function extend(end) {
  if (reached.peek()[end] || loading.has(end)) return;
  const mine = loading;
  mine.add(end);
  try {
    const from = stretch.peek().at(end === "after" ? 0 : -1).id;
    const page = await get(`/jobs?${new URLSearchParams({ results: "true", [end]: from, limit: String(PAGE) })}`);
    if (mine === loading) take(end, page);
  } catch {
    // asked for again with the next step
  } finally {
    mine.delete(end);
  }
}

function take(end, page) {
  const added = page.jobs.map(placeOf).filter(({ id }) => indexOf(id) < 0);
  batch(() => {
    putJobs(...page.jobs);
    stretch.value = end === "after" ? [...added, ...stretch.peek()] : [...stretch.peek(), ...added];
    reached.value = { ...reached.peek(), [end]: !page.next };
    for (const job of jobs.peek().values()) if (!isTied(job.peek())) insert(job.peek()); // what came while the page was on its way
  });
}

/** Requests of one batch have one time: only the server knows their order. */
const isTied = (job) => stretch.peek().some(({ createdAt }) => createdAt === job.created_at);

/** Beyond an end that is not reached it would leave a gap: a page brings it. */
function insert(job) {
  const known = stretch.peek();
  if (!known.length || !job.result || indexOf(job.id) >= 0 || (isTied(job) && !reached.peek().after)) return;
  const older = known.findIndex(({ createdAt }) => createdAt <= job.created_at);
  if ((older === 0 && !reached.peek().after) || (older < 0 && !reached.peek().before)) return;
  const at = older < 0 ? known.length : older;
  stretch.value = [...known.slice(0, at), placeOf(job), ...known.slice(at)];
}

onJobEvent((name, job) => name !== "erased" && insert(job));
