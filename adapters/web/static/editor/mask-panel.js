// Masking without a pointer: by words, by coordinates, from a file; and the list of mask parts.

import { html, live, nothing, repeat, signal, SignalView } from "../core/render.js";
import { icon } from "../core/icons.js";
import { notesView } from "../noting/notes.js";
import { fieldError } from "../core/states.js";
import { formatNumber, t } from "../core/text.js";
import { announce } from "../core/toast.js";
import { canFindRegions } from "./ability.js";
import { choices, choose, operations, removeOperation } from "./draft.js";
import { feather, lostMasks, maskCanvas } from "./mask.js";
import { picture } from "../edit/picture.js";
import { addMaskFile, cancelSearch, findRegion, regionNote, regionWords, searching } from "./regions.js";
import { addRectangle } from "./tools.js";

const MIN_FEATHER = 10;
const MAX_FEATHER = 1 / 24;
/** @type {[string, () => string][]} */
const FIELDS = [["left", () => t("Left")], ["top", () => t("Top")], ["width", () => t("Width")], ["height", () => t("Height")]];

const unit = signal("%");
const rectangle = signal({ left: "25", top: "25", width: "50", height: "50" });
const rectangleError = signal("");

/** The rectangle of the fields in pixels of the mask, or null if it is none. */
function readRectangle() {
  const values = FIELDS.map(([name]) => (rectangle.peek()[name].trim() === "" ? NaN : Number(rectangle.peek()[name])));
  const sides = [maskCanvas.width, maskCanvas.height];
  const wholes = unit.peek() === "%" ? [100, 100] : [picture.peek().width, picture.peek().height];
  const [x, y, width, height] = values.map((value, index) => (value / wholes[index % 2]) * sides[index % 2]);
  const [left, top] = [Math.max(0, x), Math.max(0, y)];
  const [right, bottom] = [Math.min(sides[0], x + width), Math.min(sides[1], y + height)];
  const box = [left, top, right - left, bottom - top].map(Math.round);
  return box.every(Number.isFinite) && box[2] > 0 && box[3] > 0 ? box : null;
}

function takeRectangle(erase) {
  const box = readRectangle();
  rectangleError.value = box ? "" : t("The rectangle must overlap the picture and be larger than 0.");
  if (!box) return;
  addRectangle(box, erase);
  announce(erase ? t("Rectangle erased.") : t("Rectangle added."));
}

function setField(name, text) {
  rectangle.value = { ...rectangle.peek(), [name]: text };
  rectangleError.value = "";
}

/** Enter in a field adds the rectangle, and does not start the job. */
const onEnter = (run) => (event) => {
  if (event.key !== "Enter" || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  run();
};

const rectangleView = () => html`
  <fieldset class="edit-rectangle">
    <legend>${t("Rectangle by coordinates")}</legend>
    <div class="edit-numbers">
      ${FIELDS.map(([name, label]) => html`
        <div class="field"><label for=${`edit-${name}`}>${label()}</label>
          <input id=${`edit-${name}`} type="number" step="any" inputmode="decimal" .value=${live(rectangle.value[name])} @keydown=${onEnter(() => takeRectangle(false))}
            @input=${(event) => setField(name, event.target.value)}></div>`)}
      <div class="field"><label for="edit-unit">${t("Unit")}</label>
        <select id="edit-unit" @change=${(event) => (unit.value = event.target.value)}>
          ${["%", "px"].map((one) => html`<option value=${one} .selected=${unit.value === one}>${one}</option>`)}
        </select></div>
    </div>
    <div class="row">
      <button type="button" @click=${() => takeRectangle(false)}>${icon("plus")}${t("Add rectangle")}</button>
      <button type="button" @click=${() => takeRectangle(true)}>${icon("minus")}${t("Erase rectangle")}</button>
    </div>
    ${fieldError(rectangleError.value)}
  </fieldset>`;

function takeFile(event) {
  const [file] = event.target.files;
  event.target.value = "";
  if (file) void addMaskFile(file);
}

const fileView = () => html`
  <input type="file" id="edit-mask-file" hidden accept="image/*" aria-label=${t("Mask file")} @change=${takeFile}>
  <button type="button" @click=${() => document.getElementById("edit-mask-file").click()}>${icon("image")}${t("Add mask file")}</button>`;

function regionView() {
  if (!canFindRegions.value) return nothing;
  const isSearching = searching.value !== null;
  return html`
    <div class="field">
      <label for="edit-region">${t("Select by words")}</label>
      <div class="edit-region">
        <input id="edit-region" type="text" maxlength="200" autocomplete="off" placeholder=${t("e.g. the sky")} .value=${live(regionWords.value)}
          @input=${(event) => (regionWords.value = event.target.value)} @keydown=${onEnter(() => void findRegion())}>
        ${isSearching
          ? html`<button type="button" ?disabled=${!searching.value} @click=${cancelSearch}><span class="spinner" aria-hidden="true"></span>${t("Cancel")}</button>`
          : html`<button type="button" ?disabled=${!regionWords.value.trim()} @click=${() => void findRegion()}>${icon("search")}${t("Find")}</button>`}
      </div>
      ${isSearching ? html`<p class="hint" role="status">${t("Searching…")}</p>` : nothing}
    </div>`;
}

function noteView() {
  if (!regionNote.value) return nothing;
  return regionNote.value.isError ? fieldError(regionNote.value.message) : html`<p class="hint">${regionNote.value.message} ${notesView(regionNote.value.notes)}</p>`;
}

const keepView = () => html`
  <fieldset class="segments edit-keep">
    <legend>${t("Selected area")}</legend>
    ${[[false, t("Repaint")], [true, t("Keep, repaint the rest")]].map(([keep, label]) => html`
      <label><input type="radio" name="edit-keep" .checked=${choices.value.keep === keep} @change=${() => choose({ keep })}><span>${label}</span></label>`)}
  </fieldset>`;

const featherView = () => html`
  <div class="field">
    <label for="edit-feather">${t("Feather")}</label>
    <div class="edit-range">
      <input id="edit-feather" type="range" min="0" max=${Math.max(MIN_FEATHER, Math.round(MAX_FEATHER * Math.max(maskCanvas.width, maskCanvas.height)))} step="1" .value=${live(String(feather.value))} aria-valuetext=${t("{n} pixels", { n: feather.value })}
        @input=${(event) => choose({ feather: Number(event.target.value) })}>
      <output class="number" for="edit-feather">${t("{n} px", { n: feather.value })}</output>
    </div>
  </div>`;

function describe(operation) {
  const { kind, erase, label } = operation;
  if (kind === "invert") return t("Inverted");
  if (kind === "clear") return t("Cleared");
  if (kind === "image") return erase ? t("{name}, erased", { name: label }) : label;
  if (kind === "stroke") return erase ? t("Eraser stroke") : t("Brush stroke");
  if (kind === "lasso") return erase ? t("Lasso, erased") : t("Lasso");
  const [left, top, width, height] = operation.box.map((value, index) => formatNumber(Math.round((100 * value) / (index % 2 ? maskCanvas.height : maskCanvas.width))));
  const place = { left, top, width, height };
  return erase ? t("Rectangle at {left}, {top}, {width} × {height} %, erased", place) : t("Rectangle at {left}, {top}, {width} × {height} %", place);
}

/** Removes a part; the focus goes to the next one's button, else to the list's heading. */
function removePart(event, operation) {
  const list = event.currentTarget.closest("ol");
  const index = [...list.children].indexOf(event.currentTarget.closest("li"));
  removeOperation(operation.id);
  announce(t("Removed: {part}", { part: describe(operation) }));
  requestAnimationFrame(() => {
    const buttons = document.querySelectorAll(".edit-parts button");
    (buttons[Math.min(index, buttons.length - 1)] ?? document.getElementById("edit-parts-title"))?.focus();
  });
}

const partsView = () => html`
  <details class="edit-parts">
    <summary id="edit-parts-title">${t("Mask parts ({n})", { n: operations.value.length })}</summary>
    <ol>
      ${repeat(operations.value, (operation) => operation.id, (operation, index) => html`
        <li><span>${describe(operation)}</span>
          <button type="button" class="icon-button" aria-label=${t("Remove part {n}: {part}", { n: index + 1, part: describe(operation) })} @click=${(event) => removePart(event, operation)}>${icon("close")}</button></li>`)}
    </ol>
  </details>`;

function lostView() {
  const names = lostMasks.value.filter((label) => operations.value.some((operation) => operation.label === label));
  return names.length ? fieldError(t("A mask in this draft no longer exists: {names}. Remove it from the list and add it again.", { names: names.join(", ") })) : nothing;
}

export const maskPanel = () => html`
  ${SignalView(regionView)}
  ${SignalView(noteView)}
  ${SignalView(lostView)}
  ${SignalView(keepView)}
  ${SignalView(featherView)}
  <details class="edit-more">
    <summary>${t("Select by coordinates or file")}</summary>
    ${SignalView(rectangleView)}
    ${fileView()}
  </details>
  ${SignalView(partsView)}`;
