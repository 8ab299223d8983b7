// The route "/gallery": all results, by day.

import { computed, html, nothing, runOnSignals, SignalView } from "../core/render.js";
import { background, loadStyle } from "../core/router.js";
import { registerShortcuts } from "../core/shortcuts.js";
import { errorView, loadingView, stateView } from "../core/states.js";
import { t, tn } from "../core/text.js";
import { deletePictures, downloadZip, toggleFavourite } from "./actions.js";
import { collections, loadCollections } from "./collections.js";
import { activeKey, focusTile, gridView, scrollPage } from "./grid.js";
import { arrivals, entries, filter, hasFilter, isComplete, isRefining, list, listingState, loadMore, order, pageError, readFilter, showArrivals } from "./listing.js";
import { clearSelection, isSelectMode, selectAll, selectedEntries } from "./selection.js";
import { barView, clearFilters } from "./toolbar.js";

let stops = null;
let isPrepared = null;

/** The target of keyboard actions: the selection, else the focused tile. */
function chosenEntries() {
  if (selectedEntries.peek().length) return selectedEntries.peek();
  const key = document.activeElement?.closest("[data-key]")?.dataset.key;
  return entries.peek().filter((entry) => entry.key === key);
}

function deleteChosen() {
  const chosen = chosenEntries();
  const keys = new Set(chosen.map((one) => one.key));
  const all = entries.peek();
  const first = all.findIndex((entry) => keys.has(entry.key));
  const next = all.slice(first).find((entry) => !keys.has(entry.key)) ?? all.slice(0, Math.max(0, first)).findLast((entry) => !keys.has(entry.key));
  clearSelection();
  deletePictures(chosen, { onUndo: () => chosen[0] && focusTile(chosen[0].key) });
  queueMicrotask(() => (next ? focusTile(next.key) : document.querySelector(".gallery h1")?.focus({ preventScroll: true })));
}

/** Keys of the gallery do nothing while the viewer is over it. */
const here = (run) => () => !background.peek() && run();

const shortcuts = () => [
  { keys: "/", label: t("Search"), run: here(() => document.getElementById("gallery-search")?.focus()) },
  { keys: "f", label: t("Favourite"), run: here(() => toggleFavourite(chosenEntries())) },
  { keys: "Delete", label: t("Delete"), run: here(deleteChosen) },
  { keys: "Ctrl+a", label: t("Select all loaded"), run: here(selectAll) },
  { keys: "d", label: t("Download"), run: here(() => chosenEntries().length && downloadZip(chosenEntries())) },
  { keys: "x", label: t("Select (Shift+arrow keys: several)"), run: () => null },
];

/** Escape clears the selection. */
function followSelection() {
  let stopKey = () => {};
  const stopFollowing = runOnSignals(() => {
    stopKey();
    const end = { keys: "Escape", label: t("Clear selection"), run: here(clearSelection) };
    stopKey = isSelectMode.value ? registerShortcuts(t("Selection"), [end]) : () => {};
  });
  return () => [stopFollowing, stopKey].forEach((end) => end());
}

/** @param {import("../core/router.js").Place} place */
export function load({ query }) {
  stops ??= [registerShortcuts(t("Gallery"), shortcuts()), followSelection()];
  if (query.get("collection")) void loadCollections();
  return list(readFilter(query));
}

export function leave() {
  stops?.forEach((stop) => stop());
  stops = null;
  clearSelection();
}

export function focus() {
  if (!activeKey.peek() || !focusTile(activeKey.peek())) document.querySelector(".gallery h1")?.focus({ preventScroll: true });
}

const noMatchView = (text, label = t("Show all pictures")) => stateView({ icon: "search", title: t("Nothing matches"), text, actions: html`<button type="button" @click=${clearFilters}>${label}</button>` });

function emptyView() {
  const { collection } = filter.value;
  if (collection && collections.value && !collections.value.some(({ id }) => id === collection)) return noMatchView(t("This collection does not exist. It may have been deleted."));
  if (hasFilter.value) return noMatchView(t("Try fewer words or different filters."), t("Clear filters"));
  return stateView({ icon: "image", title: t("Your gallery is empty"), text: t("The pictures, answers and captions you create appear here."), actions: html`<a class="button primary" href="/">${t("Create your first picture")}</a>` });
}

/** A filter that the server refuses comes from the address; trying again would not help. */
const failedView = (error) => (error.option ? noMatchView(t("The filters in this link are not valid.")) : errorView(error, () => list(filter.peek(), { isForced: true })));

/** After the last row: an error, or that more comes. */
function endView() {
  if (pageError.value) return errorView(pageError.value, () => { pageError.value = null; void loadMore(); });
  return isComplete.value || listingState.value !== "ready" || !order.value.length ? nothing : html`<p class="visually-hidden">${t("Scroll to load more.")}</p>`;
}

/** Nothing is left to show: also while a deletion can be undone. */
const isEmpty = computed(() => listingState.value === "ready" && !isRefining.value && !arrivals.value.length && (!order.value.length || (isComplete.value && !entries.value.length)));

function contentView() {
  if (listingState.value instanceof Error) return failedView(listingState.value);
  if ((listingState.value === "loading" || isRefining.value) && !order.value.length) return loadingView();
  if (isEmpty.value) return emptyView();
  return html`
    ${gridView({ label: t("Pictures and answers"), onApproach: prepareViewer })}
    ${SignalView(endView)}`;
}

/** Preloads the viewer, so pictures open without delay. */
function prepareViewer() {
  isPrepared ??= Promise.all([import("../viewer/viewer.js"), loadStyle("viewer")]).catch(() => (isPrepared = null)); // tried again when it is needed
}

function newerView() {
  const count = arrivals.value.length;
  if (!count) return nothing;
  const show = () => {
    scrollPage(0);
    showArrivals();
  };
  return html`<button type="button" class="gallery-newer chip" @click=${show}>${tn(count, "{n} new", "{n} new")}</button>`;
}

export const view = () => html`
  <div class="gallery ${listingState.value === "loading" ? "gallery-busy" : ""}">
    ${SignalView(barView)}
    <div class="gallery-newer-place" role="status">${SignalView(newerView)}</div>
    <div class="gallery-content" aria-busy=${listingState.value === "loading" ? "true" : "false"}>${SignalView(contentView)}</div>
  </div>`;
