// Below the composer: queued jobs, then the latest results. A running job keeps its place when it is done.

import { get } from "../core/api.js";
import { connection } from "../core/connection.js";
import { lazyPart } from "../core/parts.js";
import { computed, html, nothing, repeat, runOnSignals, signal, SignalView } from "../core/render.js";
import { errorView, loadingView } from "../core/states.js";
import { isFinished, jobs, putJobs } from "../core/store.js";
import { t } from "../core/text.js";
import { makesPictures, tileView } from "./tiles.js";

const PAGE = 40;
const MAX_TILES = 48;
const PERIOD_MS = 24 * 3600 * 1000;
const MIN_SHOWN = 12;

const examples = lazyPart("examples", () => import("../examples/examples.js"));
const keys = lazyPart("extras", () => import("../extras/grid-keys.js"));
const tray = lazyPart("extras", () => import("../extras/queue-tray.js"));
const grids = lazyPart("grids", () => import("../grids/grid-tile.js"));
const answers = lazyPart("answers", () => import("../answers/threads.js"));

/** "loading", "ready" or an error: whether the newest jobs are known. */
/** @type {import("../core/libraries.d.ts").Signal<string | Error>} */
const listing = signal("loading");
/** Ids of jobs that were unfinished while the page was open: their cancellation is shown. */
const witnessed = new Set();
const activeTile = signal(0);

async function loadNewest() {
  let after = "";
  try {
    do {
      const page = await get(`/jobs?limit=${PAGE}${after}`);
      putJobs(...page.jobs);
      after = page.next && page.jobs.every(isCell) && `&before=${page.jobs.at(-1).id}`;
    } while (after);
    listing.value = "ready";
  } catch (error) {
    if (listing.peek() !== "ready") listing.value = error;
  }
}

/** Loads the newest jobs, and again when the server is back. @returns {() => void} ends it */
export const startResults = () => runOnSignals(() => {
  if (connection.value === "online") void loadNewest();
});

const startOf = (job) => job.started_at ?? job.created_at;

const isCell = (job) => Boolean(job.facts?.cell);

/** The newest jobs that are known, newest first; one of each grid. */
const newest = computed(() => {
  const grids = new Set();
  const isFirst = (job) => !isCell(job) || (!grids.has(job.batch) && grids.add(job.batch));
  const known = [...jobs.value.values()].map((one) => one.peek()).sort((one, other) => (one.created_at < other.created_at ? 1 : -1)).filter(isFirst).slice(0, PAGE);
  return known.map((job) => jobs.value.get(job.id).value);
});

const queued = computed(() => newest.value.filter((job) => job.state === "queued" && !isCell(job)).reverse());

/** The blocks that are shown, as text so that a step of a job changes nothing here. */
const blocks = computed(() => JSON.stringify(buildBlocks(newest.value)));

function isShown(job, index) {
  if (!isFinished(job)) witnessed.add(job.id);
  if (isCell(job)) return true;
  if (job.state === "queued") return false;
  if (job.state === "cancelled") return witnessed.has(job.id);
  if (makesPictures(job) && job.result && !job.result.media.some(Boolean)) return false;
  return index < MIN_SHOWN || Date.now() - Date.parse(job.created_at) < PERIOD_MS;
}

/** Runs of pictures and of answers, newest first: `{tiles: [[job, number]]}` or `{threads: [{mediaIds, ids}]}`. */
function buildBlocks(known) {
  const shown = known.filter(isShown).sort((one, other) => (startOf(one) < startOf(other) ? 1 : -1));
  const built = [];
  const threads = new Map();
  let count = 0;
  for (const job of shown) {
    if (makesPictures(job) || !job.images.length) {
      if (count >= MAX_TILES) continue;
      if (!built.at(-1)?.tiles) built.push({ tiles: [] });
      const made = isCell(job) ? [0] : job.result ? job.result.media.flatMap((media, index) => (media ? [index + 1] : [])) : [1];
      const numbers = job.options.best ? made.slice(0, 1) : made;
      built.at(-1).tiles.push(...numbers.map((number) => [number ? job.id : job.batch, number]));
      count += numbers.length;
    } else addToThread(job, built, threads);
  }
  return built;
}

function addToThread(job, built, threads) {
  const mediaIds = [...new Set(job.images.map((image) => image.id))];
  const key = mediaIds.join();
  if (threads.has(key)) return void threads.get(key).ids.unshift(job.id);
  if (!built.at(-1)?.threads) built.push({ threads: [] });
  const thread = { mediaIds, ids: [job.id] };
  threads.set(key, thread);
  built.at(-1).threads.push(thread);
}

const setActive = (event) => {
  const tiles = [...event.currentTarget.querySelectorAll("[data-tile]")];
  const at = tiles.indexOf(event.target);
  if (at >= 0) activeTile.value = at;
};

const gridTile = (batch, _number, tabIndex) => SignalView(() => grids()?.gridTile(batch, tabIndex));

function tilesView({ tiles }, offset) {
  return html`
    <div class="create-grid">
      ${repeat(tiles, (key) => key.join("/"), ([id, number], index) => (number ? tileView : gridTile)(id, number, () => (activeTile.value === offset + index ? 0 : -1)))}
      <span class="create-rest"></span>
    </div>`;
}

function listView(foot) {
  if (listing.value instanceof Error && !newest.value.length) return errorView(listing.value, loadNewest);
  const built = JSON.parse(blocks.value);
  if (!built.length && !queued.value.length) return listing.value === "loading" ? loadingView() : html`${examples()?.examplesView()}${foot}`;
  const onKey = keys()?.moveFocus;
  let offset = 0;
  const views = built.map((block) => {
    const view = block.tiles ? tilesView(block, offset) : html`<div class="create-threads">${repeat(block.threads, (thread) => thread.mediaIds.join(), (thread) => answers()?.threadView(thread))}</div>`;
    offset += block.tiles?.length ?? 0;
    return view;
  });
  return html`
    <div @keydown=${onKey ?? nothing} @focusin=${setActive}>${views}</div>
    ${built.length ? html`<p><a href="/gallery">${t("View all in the gallery")}</a></p>` : nothing}
    ${foot}`;
}

/** @param {unknown} foot what comes below the results */
export const resultsView = (foot) => html`
  <section class="create-results" aria-label=${t("Latest results")}>
    <h2 class="visually-hidden">${t("Latest results")}</h2>
    ${SignalView(() => (queued.value.length ? tray()?.queuedView(queued.value) : nothing))}
    ${SignalView(() => listView(foot))}
  </section>`;
