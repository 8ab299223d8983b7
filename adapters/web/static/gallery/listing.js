// The gallery's order: the history in pages, newest first, kept current by events; of a search, best first.

import { get } from "../core/api.js";
import { connection } from "../core/connection.js";
import { onJobEvent } from "../core/events.js";
import { batch, computed, runOnSignals, signal } from "../core/render.js";
import { jobs, putJobs } from "../core/store.js";
import { promptOf } from "../core/titles.js";

const FIRST_PAGE = 60;
const PAGE = 100;
const TEXT_RATIO = 1.5;
/** Of entries in a ranked list, instead of a day. */
export const RANKED = "ranked";
const FILTERS = ["q", "command", "model", "collection", "favourite", "state"];

/** What is listed: the values of `FILTERS`, "" for all. */
export const filter = signal(readFilter(new URLSearchParams()));
/** Ids of the listed jobs, newest first. */
export const order = signal([]);
/** The number of jobs that match, on all pages; null: unknown. */
export const total = signal(null);
/** "loading", "ready", or an error: of the first page. */
/** @type {import("../core/libraries.d.ts").Signal<string | Error>} */
export const listingState = signal("loading");
/** An error of a further page, or null. */
export const pageError = signal(null);
export const isComplete = signal(false);
/** Whether the pictures of a ranked list are still looked for. */
export const isRefining = signal(false);
/** Keys of pictures that are being deleted: still there, but not shown. */
export const hiddenKeys = signal(new Set());
/** Ids of new jobs that arrived while the grid was in use: shown on request. */
export const arrivals = signal([]);
/** Whether new jobs are held back; checked for each one. */
let mustWait = () => false;
export const waitForArrivals = (isNeeded) => (mustWait = isNeeded);

let cursor = null;
let generation = 0;
let isLoading = false;
let shownFavourites = new Set();
let stops = null;

/** @param {URLSearchParams} query @returns {Record<string, string>} */
export function readFilter(query) {
  const values = Object.fromEntries(FILTERS.map((name) => [name, (query.get(name) ?? "").trim()]));
  return { ...values, favourite: values.favourite === "true" ? "true" : "" };
}

export const hasFilter = computed(() => FILTERS.some((name) => filter.value[name]));

/** @param {Record<string, string>} filter @param {Record<string, any>} more */
function toQuery({ state, ...rest }, more) {
  const query = new URLSearchParams(more);
  for (const [name, value] of Object.entries(rest)) if (value) query.set(name, value);
  if (rest.q) query.set("meaning", "true");
  if (!state) query.set("results", "true");
  else if (state !== "all") query.set("state", state);
  return query;
}

/** Lists what the filter says, unless that is listed already. @param {object} wanted */
export async function list(wanted, { isForced = false } = {}) {
  const isSame = JSON.stringify(wanted) === JSON.stringify(filter.peek()) && listingState.peek() === "ready";
  follow();
  if (isSame && !isForced) return refreshNewest();
  const mine = ++generation;
  batch(() => {
    filter.value = wanted;
    listingState.value = "loading";
    pageError.value = null;
    arrivals.value = [];
    isRefining.value = false;
  });
  isLoading = true;
  try {
    const page = await get(`/jobs?${toQuery(wanted, { limit: FIRST_PAGE })}`);
    if (mine === generation) storeFirst(page);
    if (mine === generation && page.refined === false) void refine(wanted, mine);
  } catch (error) {
    if (mine === generation) listingState.value = error;
  } finally {
    if (mine === generation) isLoading = false;
  }
  return undefined;
}

function storeFirst(page) {
  shownFavourites = new Set();
  batch(() => {
    putJobs(...page.jobs);
    order.value = page.jobs.map((job) => job.id);
    total.value = page.total;
    cursor = page.next;
    isComplete.value = !page.next;
    listingState.value = "ready";
  });
}

/** Shows the final order of a ranked list; what is being read, scrolled or with the focus, stays before what is new. */
async function refine(wanted, mine) {
  isRefining.value = true;
  const page = await get(`/jobs?${toQuery(wanted, { limit: FIRST_PAGE, refine: true })}`).catch(() => null); // what was found at first stays
  if (mine !== generation) return;
  const shown = order.peek();
  const isFirst = shown.length <= FIRST_PAGE;
  batch(() => {
    isRefining.value = false;
    if (!page) return;
    const found = page.jobs.map((job) => job.id);
    putJobs(...page.jobs);
    const isRead = window.scrollY > 4 || document.querySelector(".gallery-grid :focus");
    order.value = [...new Set(isRead ? [...shown, ...found] : [...found, ...(isFirst ? [] : shown)])];
    total.value = page.total;
    if (isFirst) isComplete.value = !(cursor = page.next);
  });
}

/** Loads the next page, unless it is being loaded already. */
export async function loadMore() {
  if (isLoading || isComplete.peek() || listingState.peek() !== "ready") return;
  const mine = generation;
  isLoading = true;
  try {
    const page = await get(`/jobs?${toQuery(filter.peek(), { limit: PAGE, before: cursor })}`);
    if (mine !== generation) return;
    const known = new Set(order.peek());
    cursor = page.next;
    batch(() => {
      putJobs(...page.jobs);
      order.value = [...order.peek(), ...page.jobs.map((job) => job.id).filter((id) => !known.has(id))];
      total.value = page.total;
      isComplete.value = !page.next;
      pageError.value = null;
    });
  } catch (error) {
    if (mine === generation) pageError.value = error;
  } finally {
    if (mine === generation) isLoading = false;
  }
}

/** Loads jobs that arrived while the gallery was not open; a ranked list stays as it was found. */
async function refreshNewest() {
  if (filter.peek().q) return;
  const mine = generation;
  try {
    const page = await get(`/jobs?${toQuery(filter.peek(), { limit: FIRST_PAGE })}`);
    if (mine !== generation) return;
    putJobs(...page.jobs);
    page.jobs.toReversed().forEach(insert);
    total.value = page.total;
  } catch {
    // the banner reports the outage; known jobs stay
  }
}

function follow() {
  if (stops) return;
  let wasOffline = false;
  stops = [
    onJobEvent((name, job) => (name === "erased" ? removeJob(job.id) : fits(job) && insert(job))),
    runOnSignals(() => {
      if (connection.value === "offline") wasOffline = true;
      else if (wasOffline) {
        wasOffline = false;
        void (listingState.peek() === "ready" ? refreshNewest() : list(filter.peek(), { isForced: true }));
      }
    }),
  ];
}

/** Whether a new job matches the filter. */
function fits(job) {
  const { q, command, model, collection, favourite, state } = filter.peek();
  const media = job.result?.media.filter(Boolean) ?? [];
  if (!state && !job.result) return false;
  if (state && state !== "all" && job.state !== state) return false;
  if (command && job.command !== command) return false;
  if (model && (job.result?.model ?? job.options.model) !== model) return false;
  if (favourite && !media.some((one) => one.favourite)) return false;
  if (collection && !media.some((one) => one.collections.includes(collection))) return false;
  const text = `${promptOf(job)} ${job.result?.text ?? ""}`.toLowerCase();
  return q.toLowerCase().split(/\s+/).every((word) => text.includes(word));
}

function insert(job) {
  if (listingState.peek() !== "ready" || order.peek().includes(job.id) || arrivals.peek().includes(job.id)) return;
  if (filter.peek().q) return void (arrivals.value = [...arrivals.peek(), job.id]);
  const oldest = jobs.peek().get(order.peek().at(-1))?.peek();
  if (oldest && !isComplete.peek() && job.created_at < oldest.created_at) return; // its page brings it
  total.value += 1;
  if (mustWait()) arrivals.value = [...arrivals.peek(), job.id];
  else place([job.id]);
}

function place(ids) {
  const known = [...order.peek()];
  for (const id of ids) {
    const createdAt = jobs.peek().get(id)?.peek().created_at;
    const at = known.findIndex((other) => (jobs.peek().get(other)?.peek().created_at ?? "") < createdAt);
    known.splice(at < 0 ? known.length : at, 0, id);
  }
  order.value = known;
}

/** Shows the jobs that were held back. */
export function showArrivals() {
  if (filter.peek().q) return void list(filter.peek(), { isForced: true });
  const waiting = arrivals.peek();
  batch(() => {
    arrivals.value = [];
    place(waiting);
  });
}

function removeJob(id) {
  if (!order.peek().includes(id) && !arrivals.peek().includes(id)) return;
  batch(() => {
    order.value = order.peek().filter((other) => other !== id);
    arrivals.value = arrivals.peek().filter((other) => other !== id);
    total.value = Math.max(0, total.peek() - 1);
  });
}

const cache = new WeakMap();

/**
 * What a job shows: an entry for each of its pictures, or one for its answer or failure.
 * @param {object} job
 */
export function readEntries(job) {
  let entries = cache.get(job);
  if (!entries) {
    const day = new Date(job.created_at).toDateString();
    const entry = (number, kind, ratio) => ({ key: `${job.id}/${number}`, job: job.id, number, kind, ratio, day });
    const media = job.result?.media ?? [];
    entries = media.flatMap((one, index) => (one ? [entry(index + 1, "picture", one.width / one.height || 1)] : []));
    if (!media.length) entries = [entry(1, job.result ? "text" : "state", TEXT_RATIO)];
    cache.set(job, entries);
  }
  return entries;
}

function isListed({ key, number, kind }, job) {
  const { favourite, collection } = filter.value;
  if (hiddenKeys.value.has(key)) return false;
  if (kind !== "picture") return true;
  const media = job.result.media[number - 1];
  if (favourite && media.favourite) shownFavourites.add(key);
  return (!favourite || shownFavourites.has(key)) && (!collection || media.collections.includes(collection));
}

/** Everything that is listed, in order. */
export const entries = computed(() => {
  const listed = order.value.flatMap((id) => {
    const job = jobs.value.get(id)?.value;
    return job ? readEntries(job).filter((entry) => isListed(entry, job)) : [];
  });
  return filter.value.q ? listed.map((entry) => ({ ...entry, day: RANKED })) : listed;
});
