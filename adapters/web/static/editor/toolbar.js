// The toolbar above the stage: tools, or actions on a result.

import { mediaUrl } from "../core/api.js";
import { html, nothing } from "../core/render.js";
import { icon } from "../core/icons.js";
import { notesView } from "../noting/notes.js";
import { formatNumber, t } from "../core/text.js";
import { announce } from "../core/toast.js";
import { choices, addOperation, future, operations, past, undo } from "./draft.js";
import { editIcon } from "./editor-icons.js";
import { chain, chainIndex, editResult, isBlurred, results, showResult, stepInChain } from "./results.js";
import { brushSize, changeSize, maskOpacity, tool, zoomPercent } from "./tools.js";
import { shownResult, fitToView, zoomBy } from "./viewport.js";

/** Name, icon, label and key of each tool. @type {[string, unknown, () => string, string][]} */
export const TOOLS = [
  ["brush", icon("brush"), () => t("Brush"), "b"],
  ["eraser", editIcon("eraser"), () => t("Eraser"), "e"],
  ["lasso", editIcon("lasso"), () => t("Lasso"), "l"],
  ["rectangle", editIcon("rectangle"), () => t("Rectangle"), "r"],
  ["move", editIcon("move"), () => t("Move the picture"), "m"],
];

/** @param {string} name of a tool */
export function chooseTool(name) {
  showResult(null);
  tool.value = name;
  announce(TOOLS.find(([one]) => one === name)[2]());
}

/** @param {boolean} [isForward] */
export function undoStep(isForward = false) {
  if (shownResult.peek()) return;
  announce(undo(isForward) ? (isForward ? t("Redone.") : t("Undone.")) : t("Nothing to undo."));
}

export function invertMask() {
  addOperation({ kind: "invert" });
  announce(t("Mask inverted."));
}

export function clearMask() {
  if (operations.peek().length) addOperation({ kind: "clear" });
  announce(t("Mask cleared."));
}

const button = (shape, label, run, isDisabled = false) => html`
  <button type="button" class="icon-button" aria-label=${label} title=${label} ?disabled=${isDisabled} @click=${run}>${shape}</button>`;

const toolsView = () => html`
  <fieldset class="segments edit-tools">
    <legend class="visually-hidden">${t("Tool")}</legend>
    ${TOOLS.map(([name, shape, label, key]) => html`
      <label title=${t("{tool} ({key})", { tool: label(), key: key.toUpperCase() })}>
        <input type="radio" name="edit-tool" .checked=${tool.value === name} @change=${() => (tool.value = name)}>
        ${shape}<span class="visually-hidden">${label()}</span>
      </label>`)}
  </fieldset>`;

const sizeView = () => html`
  <label class="edit-slider"><span>${t("Size")}</span>
    <input type="range" min="2" max="400" .value=${String(brushSize.value)} title=${t("[ and ]")}
      aria-valuetext=${t("{n} % of the longer side", { n: formatNumber(brushSize.value / 10) })} @input=${(event) => (brushSize.value = Number(event.target.value))}>
  </label>`;

const opacityView = () => html`
  <label class="edit-slider"><span>${t("Mask")}</span>
    <input type="range" min="0.1" max="1" step="0.05" .value=${String(maskOpacity.value)} aria-label=${t("Mask opacity")}
      @input=${(event) => (maskOpacity.value = Number(event.target.value))}>
  </label>`;

const zoomView = () => html`
  <div class="edit-group" role="group" aria-label=${t("View")}>
    <div class="edit-group edit-by-pinch">
      ${button(icon("minus"), t("Zoom out"), () => zoomBy(1 / 1.25))}
      <span class="number hint edit-zoom">${t("{n} %", { n: zoomPercent() })}</span>
      ${button(icon("plus"), t("Zoom in"), () => zoomBy(1.25))}
    </div>
    ${button(editIcon("fit"), t("Fit to view"), fitToView)}
  </div>`;

const paintTools = () => html`
  ${toolsView()}
  ${["brush", "eraser"].includes(tool.value) ? sizeView() : nothing}
  <div class="edit-group" role="group" aria-label=${t("Mask")}>
    ${button(icon("undo"), t("Undo"), () => undoStep(), !past.value.length)}
    ${button(editIcon("redo"), t("Redo"), () => undoStep(true), !future.value.length)}
    ${button(editIcon("invert"), t("Invert mask"), invertMask)}
    ${button(icon("trash"), t("Clear mask"), clearMask, !operations.value.length)}
  </div>
  ${opacityView()}`;

const resultTools = (result) => html`
  <button type="button" class="primary" @click=${() => editResult(result)}>${icon("check")}${t("Continue with this")}</button>
  <button type="button" @click=${() => showResult(null)}>${icon("brush")}${t("Back to the mask")}</button>
  <a class="button" href=${`/p/${result.job}/${result.n}`}>${icon("image")}${t("Open")}</a>
  <a class="button" href=${mediaUrl(result.id)} download>${icon("download")}${t("Download")}</a>`;

export function toolbarView() {
  const result = shownResult.value;
  return html`
    <div class="edit-toolbar" role="group" aria-label=${t("Tools")}>
      ${result ? resultTools(result) : choices.value.mode === "repaint" ? paintTools() : nothing}
      <span class="spacer"></span>
      ${zoomView()}
    </div>
    ${result?.notes.length ? html`<p class="edit-note" role="status">${notesView(result.notes)}</p>` : nothing}`;
}

const thumbnail = (id, label) => html`<img src=${mediaUrl(id, 256)} alt=${label} width="56" height="56" loading="lazy">`;

function resultsStrip() {
  if (!results.value.length) return nothing;
  return html`
    <div class="edit-results"><h2 id="edit-results">${t("Results")}</h2>
    <ul class="edit-strip" aria-labelledby="edit-results">
      ${results.value.map((one, index) => html`
        <li><button type="button" class="edit-thumb ${isBlurred(one) ? "edit-thumb-blurred" : ""}" aria-pressed=${shownResult.value?.id === one.id} @click=${() => showResult(one)}>${thumbnail(one.id, t("Result {n}", { n: index + 1 }))}</button></li>`)}
    </ul></div>`;
}

function chainStrip() {
  if (chain.value.length < 2) return nothing;
  const at = chainIndex.value;
  return html`
    <nav class="edit-chain" aria-labelledby="edit-steps"><h2 id="edit-steps">${t("Versions")}</h2>
      ${button(icon("undo"), t("Previous version"), () => stepInChain(-1), at <= 0)}
      <ol class="edit-strip">
        ${chain.value.map((id, index) => html`
          <li><a class="edit-thumb" href=${`/edit/${id}`} aria-current=${index === at ? "step" : nothing}>${thumbnail(id, index ? t("Version {n}", { n: index }) : t("Original picture"))}</a></li>`)}
      </ol>
      ${button(editIcon("redo"), t("Next version"), () => stepInChain(1), at >= chain.value.length - 1)}
    </nav>`;
}

/** Results and steps, below the stage. */
export function stripsView() {
  if (!results.value.length && chain.value.length < 2) return nothing;
  return html`<div class="edit-strips">${chainStrip()}<span class="spacer"></span>${resultsStrip()}</div>`;
}

/** Keys of the tools. */
export const toolShortcuts = () => [
  ...TOOLS.map(([name, , label, key]) => ({ keys: key, label: label(), run: () => chooseTool(name) })),
  { keys: "Escape", label: t("Back to the mask"), run: () => showResult(null) },
  { keys: "[", label: t("Smaller brush"), run: () => changeSize(-1) },
  { keys: "]", label: t("Larger brush"), run: () => changeSize(1) },
  { keys: "i", label: t("Invert mask"), run: invertMask },
  { keys: "x", label: t("Clear mask"), run: clearMask },
  { keys: "Ctrl+z", label: t("Undo (Shift: redo)"), run: (event) => undoStep(event.shiftKey) },
  { keys: "Ctrl+y", label: t("Redo"), run: () => undoStep(true) },
  { keys: "+", label: t("Zoom in"), run: () => zoomBy(1.25) },
  { keys: "-", label: t("Zoom out"), run: () => zoomBy(1 / 1.25) },
  { keys: "0", label: t("Fit to view"), run: fitToView },
];
