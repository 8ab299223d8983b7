// The composer: mode, prompt, photos, choices, price, and what was refused.

import { lazyPart } from "../core/parts.js";
import { html, nothing, SignalView, signal } from "../core/render.js";
import { sentenceView } from "../core/sentence.js";
import { icon } from "../core/icons.js";
import { loadStyle } from "../core/router.js";
import { t } from "../core/text.js";
import { activeOptions, supportedOptions } from "./capabilities.js";
import { chipsView } from "./chips.js";
import { gridAxes, mode, photos, setAxes } from "./draft.js";
import { addFiles, isDropping, photoNote, uploads } from "./photos.js";
import { promptField } from "./prompt-field.js";
import { isSending, pendingQuote, refusal, sendDraft } from "./request.js";

/** @type {[string, import("../core/icons.js").IconName, () => string][]} */
const MODES = [
  ["imagine", "create", () => t("Imagine")], ["edit", "edit", () => t("Edit")], ["ask", "ask", () => t("Ask")],
];
const ON_CHIPS = ["aspect", "count", "steps", "model", "style"];
const ACCEPT = "image/png,image/jpeg,image/webp,image/avif,image/heic,image/heif,image/gif,image/tiff,image/bmp";

const photoRow = lazyPart("attach", () => import("../attach/photo-row.js"));

const facts = lazyPart("extras", () => import("../extras/facts.js"));
const notes = lazyPart("extras", () => import("../extras/notes.js"));
const axes = lazyPart("axes", () => import("../axes/axes.js"));
const refused = lazyPart("extras", () => import("../extras/refused.js"));
const confirmation = lazyPart("extras", () => import("../extras/confirm.js"));

const photosPart = () => (photos.value.length || uploads.value.length ? photoRow()?.photosView() : nothing);
const noteView = () => (photoNote.value ? html`<p class="hint create-note" role="status">${sentenceView(photoNote.value)}</p>` : nothing);

/** The option that the drawer shows as wrong. */
export const wrongOption = signal(null);

const modesView = () => html`
  <fieldset class="segments create-modes">
    <legend class="visually-hidden">${t("Mode")}</legend>
    ${MODES.map(([name, shape, label]) => html`
      <label>
        <input type="radio" name="mode" value=${name} .checked=${mode.value === name} @change=${() => (mode.value = name)}>
        <span>${icon(shape)}${label()}</span>
      </label>`)}
  </fieldset>`;

const sendLabel = () => MODES.find(([name]) => name === mode.value)[2]();

/** Opens all options. @param {string | null} [option] that is wrong */
export async function openDrawer(option = null) {
  wrongOption.value = option;
  const [{ openOptions }] = await Promise.all([import("../drawer/drawer.js"), loadStyle("drawer")]);
  await openOptions();
  wrongOption.value = null;
}

async function openPicker() {
  const [{ pickPictures }] = await Promise.all([import("../drawer/drawer.js"), loadStyle("drawer")]);
  await pickPictures();
}

const pickFile = () => document.getElementById("create-file").click();

const addView = () => html`
  <input type="file" id="create-file" hidden multiple accept=${ACCEPT}
    @change=${(event) => { void addFiles([...event.target.files]); event.target.value = ""; }}>
  <button type="button" class="icon-button" aria-label=${t("Add a photo")} title=${t("Add a photo")} @click=${pickFile}>${icon("photo")}</button>
  <button type="button" class="icon-button" aria-label=${t("Add one of your pictures")} title=${t("Add one of your pictures")} @click=${openPicker}>${icon("gallery")}</button>`;

function moreView() {
  const set = Object.keys(activeOptions.value).filter((name) => !ON_CHIPS.includes(name) || (name === "aspect" && activeOptions.value.width));
  const hasOptions = [...supportedOptions.value.keys()].some((name) => !["model"].includes(name));
  if (!hasOptions) return nothing;
  return html`
    <button type="button" class="chip create-more" aria-haspopup="dialog" @click=${() => openDrawer()}>
      ${icon("settings")}${t("More")}${set.length ? html`<span class="create-set number" title=${set.join(", ")}>${set.length}<span class="visually-hidden"> ${t("options set")}</span></span>` : nothing}
    </button>`;
}

function gridView() {
  if (mode.value !== "imagine") return nothing;
  return html`
    <button type="button" class="chip" aria-pressed=${gridAxes.value ? "true" : "false"} @click=${() => setAxes(gridAxes.peek() ? null : [{ option: "steps", values: "" }])}>${icon("gallery")}${t("Grid")}</button>`;
}

const sendView = () => html`
  <button type="submit" class="primary create-send" aria-disabled=${uploads.value.length || isSending.value ? "true" : "false"}>
    ${isSending.value ? html`<span class="spinner" aria-hidden="true"></span>` : nothing}${sendLabel()}
  </button>`;

const submit = (event) => {
  event.preventDefault();
  void sendDraft();
};

export const composerView = () => html`
  <form class="top-bar create-composer" novalidate @submit=${submit} aria-label=${t("Composer")}>
    <div class="create-main">
      ${SignalView(modesView)}
      <div class="create-words">${SignalView(promptField)}</div>
      <div class="create-buttons">${addView()}${SignalView(sendView)}</div>
    </div>
    ${SignalView(photosPart)}
    ${SignalView(noteView)}
    <div class="row">
      <div class="row create-chips">${SignalView(chipsView)}${SignalView(moreView)}${SignalView(gridView)}</div>
      <p class="hint create-facts number" id="create-facts">${SignalView(() => facts()?.factsView())}</p>
    </div>
    ${SignalView(() => (gridAxes.value ? axes()?.axesView() : nothing))}
    ${SignalView(() => notes()?.missingModelView())}
    ${SignalView(() => (refusal.value ? refused()?.refusalView() : nothing))}
    ${SignalView(() => (pendingQuote.value ? confirmation()?.confirmView() : nothing))}
    ${SignalView(() => (isDropping.value ? notes()?.dropView() : nothing))}
  </form>`;
