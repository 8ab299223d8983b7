// Above the grid: search, filters and density, or what can be done with the selection.

import { openDialog } from "../core/dialog.js";
import { icon } from "../core/icons.js";
import { html, nothing, repeat } from "../core/render.js";
import { updateQuery } from "../core/router.js";
import { commands, models } from "../core/store.js";
import { t, tn } from "../core/text.js";
import { deletePictures, downloadZip, isFavourite, toggleFavourite } from "./actions.js";
import { collect, collections, loadCollections, manageCollections, removeFrom } from "./collections.js";
import { DENSITIES, density, scrollPage, shownDensity } from "./grid.js";
import { entries, filter, hasFilter, isRefining, listingState, total } from "./listing.js";
import { clearSelection, isSelecting, isSelectMode, selectAll, selectedEntries } from "./selection.js";
import { labelOfCommand } from "../core/titles.js";

const SEARCH_DELAY_MS = 250;
const MAX_SEARCH = 200;
/** @type {[string, () => string][]} */
const STATES = [["", () => t("Results")], ["all", () => t("Everything")], ["failed", () => t("Failed")], ["cancelled", () => t("Cancelled")], ["queued", () => t("Queued")], ["running", () => t("Running")]];

let timer = null;

function search(event) {
  const { value } = event.target;
  clearTimeout(timer);
  timer = setTimeout(() => setFilter({ q: value.trim() }), SEARCH_DELAY_MS);
}

export function setFilter(changes) {
  clearSelection();
  scrollPage(0);
  return updateQuery(changes);
}

export function clearFilters() {
  /** @type {HTMLInputElement} */
  const field = document.querySelector("#gallery-search");
  if (field) field.value = "";
  return setFilter({ q: null, command: null, model: null, collection: null, favourite: null, state: null });
}

const selectView = (name, label, choices, value) => html`
  <label class="gallery-filter"><span class="visually-hidden">${label}</span>
    <select name=${name} @change=${(event) => setFilter({ [name]: event.target.value })}>
      ${repeat(choices, ([one]) => one, ([one, text]) => html`<option value=${one} ?selected=${one === value} .selected=${one === value}>${text}</option>`)}
    </select>
  </label>`;

/** The choices, and the present one even if it is none of them. */
const choicesOf = (all, known, value) => [["", all], ...known, ...(value && !known.some(([one]) => one === value) ? [[value, value]] : [])];

function filtersView() {
  const { command, model, collection, favourite, state } = filter.value;
  const named = (collections.value ?? []).map((one) => [one.id, one.name]);
  return html`
    ${selectView("command", t("Kind"), choicesOf(t("All kinds"), commands.value.filter((one) => one.name !== "preview").map((one) => [one.name, labelOfCommand(one.name)]), command), command)}
    ${selectView("model", t("Model"), choicesOf(t("All models"), models.value.map((one) => [one.name, one.name]), model), model)}
    ${selectView("collection", t("Collection"), choicesOf(t("All collections"), named, collection), collection)}
    ${selectView("state", t("State"), STATES.map(([one, text]) => [one, text()]), state)}
    <button type="button" class="chip" aria-pressed=${favourite ? "true" : "false"} @click=${() => setFilter({ favourite: favourite ? null : "true" })}>${icon("heart")}${t("Favourites")}</button>`;
}

function openFilters() {
  void loadNames();
  return openDialog({
    title: t("Filters"),
    kind: "sheet",
    view: (close) => html`
      <div class="gallery-filter-sheet">${filtersView()}</div>
      <div class="row dialog-actions">
        <button type="button" @click=${() => { close(); void manageCollections((id) => setFilter({ collection: id })); }}>${t("Manage collections")}</button>
        <button type="button" class="primary" @click=${() => close()}>${t("Done")}</button>
      </div>`,
  });
}

function countText() {
  if (listingState.value !== "ready" || total.value === null || (isRefining.value && !total.value)) return listingState.value instanceof Error ? "" : t("Loading…");
  return hasFilter.value ? tn(total.value, "{n} match", "{n} matches") : tn(total.value, "{n} result", "{n} results");
}

const densityView = () => html`
  <label class="gallery-density"><span class="visually-hidden">${t("Thumbnail size")}</span>
    <input type="range" min="0" max=${DENSITIES - 1} step="1" .value=${String(shownDensity.value)} @input=${(event) => (density.value = Number(event.target.value))}>
  </label>`;

export const toolbarView = () => html`
  <div class="gallery-tools">
    <h1 tabindex="-1">${t("Gallery")}</h1>
    <p class="hint number gallery-count" role="status">${countText()}</p>
    <label class="gallery-search"><span class="visually-hidden">${t("Search")}</span>${icon("search")}
      <input id="gallery-search" type="search" maxlength=${MAX_SEARCH} placeholder=${t("Search words and pictures")} .value=${filter.value.q} @input=${search} enterkeyhint="search" autocomplete="off">
    </label>
    <div class="gallery-filters">${filtersView()}
      <button type="button" class="icon-button" aria-label=${t("Manage collections")} title=${t("Manage collections")} @click=${() => manageCollections((id) => setFilter({ collection: id }))}>${icon("collection")}</button>
    </div>
    <button type="button" class="icon-button gallery-open-filters" aria-label=${hasFilter.value ? t("Filters (active)") : t("Filters")} aria-haspopup="dialog" @click=${openFilters}>${icon("filter")}</button>
    ${densityView()}
    <button type="button" class="gallery-select" ?disabled=${!entries.value.length} @click=${() => (isSelecting.value = true)}>${icon("check")}<span>${t("Select")}</span></button>
  </div>`;

/** Runs an action on what is selected, and ends the selection. */
const withSelection = (work) => () => {
  const chosen = selectedEntries.peek();
  clearSelection();
  void work(chosen);
};

const actionView = (name, label, run, { isDisabled = false, kind = "" } = {}) => html`
  <button type="button" class="gallery-action ${kind}" aria-label=${label} title=${label} ?disabled=${isDisabled} @click=${run}>${icon(name)}<span>${label}</span></button>`;

export function selectionView() {
  const chosen = selectedEntries.value;
  const { collection } = filter.value;
  const pictures = chosen.filter((one) => one.kind === "picture");
  const isNone = !chosen.length;
  const areFavourites = pictures.length > 0 && pictures.every(isFavourite);
  return html`
    <div class="gallery-tools gallery-selection">
      <h1 class="visually-hidden">${t("Gallery")}</h1>
      <button type="button" class="icon-button" aria-label=${t("Clear selection")} @click=${clearSelection}>${icon("close")}</button>
      <p class="number gallery-selected" role="status">${tn(chosen.length, "{n} selected", "{n} selected")}</p>
      <button type="button" class="subtle" aria-label=${t("Select all")} @click=${selectAll}>${t("All")}</button>
      <span class="spacer"></span>
      ${actionView("heart", areFavourites ? t("Unfavourite") : t("Favourite"), () => toggleFavourite(selectedEntries.peek()), { isDisabled: !pictures.length })}
      ${actionView("collection", t("Collect"), withSelection(collect), { isDisabled: !pictures.length })}
      ${collection ? actionView("minus", t("Remove from the collection"), withSelection((all) => removeFrom(collection, all)), { isDisabled: isNone }) : nothing}
      ${actionView("download", t("Download"), withSelection(downloadZip), { isDisabled: !pictures.length })}
      ${actionView("trash", t("Delete"), withSelection(deletePictures), { isDisabled: isNone, kind: "gallery-danger" })}
    </div>`;
}

const loadNames = () => collections.peek() ?? loadCollections();

export const barView = () => html`<div class="top-bar gallery-bar" @pointerenter=${loadNames} @focusin=${loadNames}>${isSelectMode.value ? selectionView() : toolbarView()}</div>`;
