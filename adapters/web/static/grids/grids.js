// The route "/grid/{batch}": the pictures of a grid in a table, filled while they are made, and its sheets.

import { get, mediaUrl, remove } from "../core/api.js";
import { connection } from "../core/connection.js";
import { onJobEvent } from "../core/events.js";
import { icon } from "../core/icons.js";
import { batch, computed, html, nothing, runOnSignals, signal, SignalView } from "../core/render.js";
import { setTitle } from "../core/router.js";
import { errorView, loadingView, stateView } from "../core/states.js";
import { isFinished, jobSignal, putJobs, refreshQuota, spoilers } from "../core/store.js";
import { formatSeconds, t, tn } from "../core/text.js";
import { announce, showToast } from "../core/toast.js";
import { promptOf, shorten } from "../core/titles.js";
import { cellView } from "./cells.js";

/** The body of GET /batches/{id}, an error, or null while it is loaded. */
const grid = signal(null);
const isCancelling = signal(false);
let stops = [];
let current = "";

/** @param {import("../core/router.js").Place} place */
export function load({ params }) {
  if (current !== params.batch) grid.value = null;
  leave();
  current = String(params.batch);
  stops = [
    onJobEvent((name, job) => job.batch === current && (name === "erased" || isFinished(job)) && refreshSoon()),
    runOnSignals(() => connection.value === "online" && void refresh()),
    runOnSignals(() => Array.isArray(grid.value?.cells) && setTitle(titleOf(grid.value))),
  ];
}

export function leave() {
  for (const stop of stops) stop();
  stops = [];
}

async function refresh() {
  const wanted = current;
  try {
    const found = await get(`/batches/${encodeURIComponent(wanted)}`);
    if (current !== wanted) return;
    batch(() => {
      putJobs(...found.jobs);
      for (const sheet of found.sheets) if (sheet.spoiler) spoilers.add(sheet.id);
      grid.value = found;
    });
  } catch (error) {
    if (current === wanted && !(grid.peek()?.cells && error.code === "offline")) grid.value = error;
  }
}

let isWaiting = false;

/** Its jobs in the order of the table: what the viewer steps through. */
export const cells = computed(() => (grid.value?.cells ?? []).map(({ job }) => job && jobSignal(job)?.value).filter(Boolean));

/** The sheets are composed after the last picture has ended, which a change of it tells; several ends ask once. */
function refreshSoon() {
  if (isWaiting || jobsOf(grid.peek()).some((job) => !isFinished(job))) return;
  isWaiting = true;
  queueMicrotask(() => {
    isWaiting = false;
    void refresh();
  });
}

const jobsOf = (found) => (found?.jobs ?? []).map((job) => jobSignal(job.id)?.value).filter(Boolean);
const titleOf = (found) => (jobsOf(found).length ? shorten(promptOf(jobsOf(found)[0])) : t("Grid"));
const unfinished = computed(() => jobsOf(grid.value).filter((job) => !isFinished(job)));

async function cancelAll() {
  isCancelling.value = true;
  try {
    const after = await remove(`/batches/${current}`);
    putJobs(...after.jobs);
    announce(t("Cancelled."));
    void refreshQuota();
  } catch (error) {
    showToast(error.message, { kind: "error" });
  }
  isCancelling.value = false;
  document.querySelector(".grids h1")?.focus(); // the button that had the focus is gone
  void refresh();
}

function summaryText() {
  const [all, open] = [jobsOf(grid.value), unfinished.value];
  const left = formatSeconds(Math.max(-1, ...open.map((job) => job.eta_s ?? -1)) < 0 ? null : Math.max(...open.map((job) => job.eta_s ?? 0)));
  if (!open.length) {
    const made = all.filter((job) => job.result?.media.some(Boolean)).length;
    return made < all.length ? t("{made} of {n} pictures were made.", { made, n: all.length }) : tn(all.length, "{n} picture", "{n} pictures");
  }
  return [t("{done} of {n} pictures", { done: all.length - open.length, n: all.length }), left].filter(Boolean).join(" · ");
}

const axisOf = (found, name) => found.axes.find((axis) => axis.axis === name);
const letters = (index) => (index < 26 ? "" : letters(Math.floor(index / 26) - 1)) + String.fromCharCode(97 + (index % 26));

/** The headings of an axis: `{name, text}`; one without a text where there is no such axis. */
function headings(found, axis, nameOf) {
  const known = axisOf(found, axis);
  return known ? known.labels.map((label, place) => ({ name: nameOf(place), text: `${known.title}: ${label || t("deleted")}` })) : [{ name: nameOf(0), text: "" }];
}

const headingView = ({ name, text }, scope) => html`<th scope=${scope}><b>${name}</b> ${text}</th>`;

function tableView(found, z) {
  const [columns, rows, sheets] = [headings(found, "x", letters), headings(found, "y", (place) => String(place + 1)), headings(found, "z", (place) => String(place + 1))];
  const cellAt = (x, y) => found.cells[(z * rows.length + y) * columns.length + x];
  const sizes = `max(7rem, ${Math.round(80 / columns.length)}vw)`;
  const nameOf = (x, y) => {
    const place = `${sheets.length > 1 ? sheets[z].name : ""}${columns[x].name}${rows[y].name}`;
    return [place, columns[x].text, rows[y].text].filter(Boolean).join(", ");
  };
  return html`
    <section class="grids-sheet">
      ${sheets[z].text ? html`<h2>${sheets[z].name} · ${sheets[z].text}</h2>` : nothing}
      <div class="grids-scroll" role="region" tabindex="0" aria-label=${sheets[z].text || t("Pictures of the grid")}>
        <table class="grids-table" .style=${`--columns: ${columns.length}`}>
          <caption class="visually-hidden">${[titleOf(found), sheets[z].text].filter(Boolean).join(", ")}</caption>
          <thead><tr><td></td>${columns.map((column) => headingView(column, "col"))}</tr></thead>
          <tbody>
            ${rows.map((row, y) => html`<tr>${headingView(row, "row")}${columns.map((_column, x) => html`<td class="grids-cell">${cellView(cellAt(x, y).job, nameOf(x, y), sizes)}</td>`)}</tr>`)}
          </tbody>
        </table>
      </div>
    </section>`;
}

const fileName = (found, sheet) => `easel-grid-${found.batch}${found.sheets.length > 1 ? `-${sheet.z + 1}` : ""}.${sheet.media_type === "image/jpeg" ? "jpg" : "png"}`;

function sheetsView(found) {
  if (!found.sheets.length) return nothing;
  return html`
    <section class="grids-sheets" aria-labelledby="grids-sheets">
      <h2 id="grids-sheets">${tn(found.sheets.length, "Sheet", "Sheets")}</h2>
      <ul>${found.sheets.map((sheet) => html`
        <li class="card">
          <a href=${mediaUrl(sheet.id)} target="_blank" rel="noopener"><img class=${spoilers.has(sheet.id) ? "tile-blurred" : ""} src=${mediaUrl(sheet.id, 512)} alt=${sheet.alt} width=${sheet.width} height=${sheet.height} loading="lazy" decoding="async"></a>
          <a class="button" href=${mediaUrl(sheet.id)} download=${fileName(found, sheet)}>${icon("download")}${found.sheets.length > 1 ? t("Download sheet {n}", { n: sheet.z + 1 }) : t("Download the sheet")}</a>
        </li>`)}</ul>
    </section>`;
}

const cancelView = () => (unfinished.value.length ? html`<button type="button" ?disabled=${isCancelling.value} @click=${cancelAll}>${icon("close")}${t("Cancel all")}</button>` : nothing);

function missingView() {
  const actions = html`<a class="button primary" href="/gallery">${t("Open the gallery")}</a>`;
  return stateView({ icon: "gallery", title: t("This grid does not exist"), text: t("It was deleted, belongs to someone else, or the link is incomplete."), actions });
}

function tryAgain() {
  grid.value = null;
  void refresh();
}

function contentView(found) {
  if (!found) return loadingView();
  if (found.code === "not_found" || found.cells?.length === 0) return missingView();
  if (!found.cells) return errorView(found, tryAgain);
  const sheets = axisOf(found, "z")?.values.length ?? 1;
  return [...Array.from({ length: sheets }, (_none, z) => tableView(found, z)), sheetsView(found)];
}

/** The heading has the focus after a navigation, and stays the same element while the grid is loaded. */
export function view() {
  const found = grid.value;
  const isKnown = found?.cells?.length > 0;
  return html`
    <div class="page grids">
      <div class=${isKnown ? "page-head top-bar" : ""}>
        <h1 class=${isKnown ? "" : "visually-hidden"} tabindex="-1">${isKnown ? titleOf(found) : t("Grid")}</h1>
        ${isKnown ? html`<p class="hint number" role="status">${SignalView(summaryText)}</p><span class="spacer"></span>${SignalView(cancelView)}` : nothing}
      </div>
      ${contentView(found)}
    </div>`;
}
