// The Models view: capabilities, fit for this machine, installing and removing.

import { post } from "../core/api.js";
import { onReturn } from "../core/connection.js";
import { icon } from "../core/icons.js";
import { html, nothing, repeat, signal } from "../core/render.js";
import { updateQuery } from "../core/router.js";
import { errorView, loadingView, stateView } from "../core/states.js";
import { isAdmin, refreshModels, storeError } from "../core/store.js";
import { formatBytes, t, tn } from "../core/text.js";
import { showToast } from "../core/toast.js";
import { GROUPS, isInGroup } from "./abilities.js";
import { openAdding } from "./adding.js";
import { addonView, cardView } from "./cards.js";
import { addons, hasOnlyStarters, isInstalled, leaveModels, loadModels, rows } from "./catalogue.js";

const error = signal(null);
const isUnloading = signal(false);
/** @type {[string, () => string][]} */
const SHOWN = [["", () => t("All")], ["fits", () => t("Fits this machine")], ["installed", () => t("Installed")]];
let stop = null;

/** A changed filter loads nothing. */
export async function load() {
  if (stop) return;
  stop = onReturn(reload);
  await reload();
}

async function reload() {
  try {
    await loadModels();
    error.value = null;
  } catch (problem) {
    error.value = problem;
  }
}

export function leave() {
  stop?.();
  stop = null;
  leaveModels();
}

const isShown = (row, { does, show }) =>
  isInGroup(row, does) && (!show || (show === "installed" ? isInstalled(row) : isInstalled(row) || (row.fits && row.fits.place !== "no")));

export function view({ query }) {
  const filter = { does: query.get("does"), show: query.get("show") };
  return html`
    <div class="page models">
      <div class="top-bar models-head">
        <div class="row">
          <h1>${t("Models")}</h1>
          <span class="spacer"></span>
          ${isAdmin.value ? html`
            <button type="button" class="subtle" title=${t("Unload idle models. They are loaded again when a job needs them.")} ?disabled=${isUnloading.value} @click=${unload}>${t("Free memory")}</button>
            <button type="button" aria-label=${t("Add a model")} @click=${openAdding}>${icon("plus")}${t("Add")}</button>` : nothing}
        </div>
        ${filtersView(filter)}
      </div>
      ${contentView(filter)}
    </div>`;
}

const filtersView = ({ does, show }) => html`
  <div class="row models-filters" role="group" aria-label=${t("Filter by task")}>
    <button type="button" class="chip" aria-pressed=${does ? "false" : "true"} @click=${() => updateQuery({ does: null })}>${t("Everything")}</button>
    ${GROUPS.map((group) => html`
      <button type="button" class="chip" aria-pressed=${does === group.name ? "true" : "false"} @click=${() => updateQuery({ does: does === group.name ? null : group.name })}>${icon(group.icon)}${group.label}</button>`)}
    <span class="spacer"></span>
    ${isAdmin.value ? html`
      <select aria-label=${t("Show")} .value=${show ?? ""} @change=${(event) => updateQuery({ show: event.target.value || null })}>
        ${SHOWN.map(([value, label]) => html`<option value=${value} ?selected=${value === (show ?? "")}>${label()}</option>`)}
      </select>` : nothing}
  </div>`;

function contentView(filter) {
  const problem = error.value ?? (isAdmin.value ? null : storeError.value);
  if (problem) return errorView(problem, isAdmin.value ? reload : refreshModels);
  if (!rows.value) return loadingView();
  const shown = rows.value.filter((row) => isShown(row, filter));
  const lists = [
    { name: "installing", title: t("Installing"), rows: shown.filter((row) => row.install_progress) },
    { name: "installed", title: t("Installed"), rows: shown.filter(isInstalled) },
    { name: "available", title: t("Available"), rows: shown.filter((row) => !row.enabled && !row.install_progress) },
  ];
  return html`
    ${hasOnlyStarters.value ? invitationView(filter) : nothing}
    ${shown.length ? lists.map(sectionView) : noneView()}
    ${addons.value.length && !filter.does ? addonsView() : nothing}`;
}

const sectionView = ({ name, title, rows: shown }) => (shown.length ? html`
  <section aria-labelledby=${`models-${name}`}>
    <h2 id=${`models-${name}`}>${title} <span class="hint number">${shown.length}</span></h2>
    <ul class="models-grid">${repeat(shown, (row) => row.name, cardView)}</ul>
  </section>` : nothing);

/** The starters show how Easel works; real pictures need a real model. */
const invitationView = (filter) => html`
  <div class="models-invitation">
    ${icon("create")}
    <div>
      <p><strong>${t("These are small starter models.")}</strong> ${t("They come with Easel so that everything works right away. For pictures worth keeping, choose a real model.")}</p>
      ${isAdmin.value ? nothing : html`<p class="hint">${t("An admin can install one here.")}</p>`}
    </div>
    ${isAdmin.value && !(filter.does === "make" && filter.show === "fits") ? html`<button type="button" class="primary" @click=${chooseReal}>${t("Choose a real model")}</button>` : nothing}
  </div>`;

async function chooseReal() {
  await updateQuery({ does: "make", show: "fits" });
  requestAnimationFrame(() => requestAnimationFrame(() => {
    const heading = document.getElementById("models-available");
    if (!heading) return;
    heading.tabIndex = -1;
    heading.focus({ preventScroll: true });
    heading.scrollIntoView({ block: "start" });
  }));
}

const noneView = () => stateView({
  icon: "models",
  title: t("No models match these filters"),
  actions: html`<button type="button" @click=${() => updateQuery({ does: null, show: null })}>${t("Show all")}</button>`,
});

const addonsView = () => html`
  <section aria-labelledby="models-addons">
    <h2 id="models-addons">${t("LoRAs and textual inversions")} <span class="hint number">${addons.value.length}</span></h2>
    <ul class="models-addons">${repeat(addons.value, (addon) => addon.name, addonView)}</ul>
  </section>`;

async function unload() {
  isUnloading.value = true;
  try {
    const { models, busy, freed_mb: freed } = await post("/models/unload", {});
    const result = models.length ? tn(models.length, "Unloaded one model and freed {size}.", "Unloaded {n} models and freed {size}.", { size: formatBytes(freed * 2 ** 20) }) : t("No idle models to unload.");
    showToast(busy.length ? `${result} ${t("Still in use: {models}.", { models: busy.join(", ") })}` : result);
    await refreshModels();
  } catch (problem) {
    showToast(problem.message, { kind: "error" });
  }
  isUnloading.value = false;
}
