// The number formats of a model's weights and of its computation: chosen with its installation, or changed later.

import { post } from "../core/api.js";
import { openDialog } from "../core/dialog.js";
import { html, nothing, signal } from "../core/render.js";
import { sentenceView } from "../core/sentence.js";
import { t } from "../core/text.js";

const WEIGHTS = [
  ["auto", t("Automatic: fewer bits only where memory is short")],
  ["none", t("The model's own")],
  ["8bit", t("8 bits")],
  ["fp8", t("8-bit floats, for models that make pictures")],
  ["4bit", t("4 bits, for text encoders and language models")],
];
const PRECISIONS = [["auto", t("Automatic")], ["float32", "float32"], ["bfloat16", "bfloat16"], ["float16", "float16"]];

/** The fields of both formats. @param {{weights: string, precision: string}} chosen @param {(values: object) => void} change */
export const formatsView = (chosen, change) => html`
  ${selectView(t("Weights"), WEIGHTS, chosen.weights, (weights) => change({ weights }))}
  ${selectView(t("Precision"), PRECISIONS, chosen.precision, (precision) => change({ precision }))}`;

const selectView = (label, values, chosen, change) => html`
  <label class="field">${label}
    <select .value=${chosen} @change=${(event) => change(event.target.value)}>
      ${values.map(([value, text]) => html`<option value=${value} ?selected=${value === chosen}>${text}</option>`)}
    </select>
  </label>`;

/**
 * Opens the dialog that changes the formats of an installed model. `follow` shows the progress on the model's card.
 * @param {{name: string, title: string, weights: string, precision: string, default_for: string[]}} row
 * @param {(row: object) => Promise<void>} follow
 */
export async function openFormats(row, follow) {
  const state = signal({ weights: row.weights, precision: row.precision, error: "", isSending: false });
  const isStarted = await openDialog({ title: t("Number format of {title}", { title: row.title }), view: (close) => changingView(row, state, close) });
  if (isStarted) await follow(row);
}

function changingView(row, state, close) {
  const { error, isSending, weights, precision } = state.value;
  const isChanged = weights !== row.weights || precision !== row.precision;
  return html`
    <p>${t("Fewer bits take less memory and change pictures and answers a little. The model is tried first; if the test fails, nothing changes.")}</p>
    ${formatsView(state.value, (values) => (state.value = { ...state.peek(), ...values, error: "" }))}
    ${error ? html`<p class="error" role="alert">${sentenceView(error)}</p>` : nothing}
    <div class="row dialog-actions">
      <button type="button" @click=${() => close()}>${t("Cancel")}</button>
      <button type="button" class="primary" ?disabled=${isSending || !isChanged} @click=${() => start(row, state, close)}>${t("Test and use")}</button>
    </div>`;
}

async function start(row, state, close) {
  const { weights, precision } = state.peek();
  state.value = { ...state.peek(), error: "", isSending: true };
  try {
    await post(`/admin/models/${row.name}/use`, { accept_licence: true, tasks: row.default_for, weights, precision });
    close(true);
  } catch (problem) {
    state.value = { ...state.peek(), error: problem.message, isSending: false };
  }
}
