// The axes of a grid below the prompt: what its columns, rows and sheets change, and the values.

import { get } from "../core/api.js";
import { icon } from "../core/icons.js";
import { html, live, nothing, signal } from "../core/render.js";
import { t } from "../core/text.js";
import { findCommand, fittingModels, supportedOptions, usedPhotos } from "../create/capabilities.js";
import { gridAxes, setAxes } from "../create/draft.js";
import { refusal } from "../create/request.js";
import { labelOfOption } from "../drawer/fields.js";

const MAX_AXES = 3;
const MAX_CHOICES = 24;
/** Options that are of no use as an axis, or that others stand for. */
const UNUSED = ["count", "best", "size"];
const NAMES = [() => t("Columns"), () => t("Rows"), () => t("Sheets")];
/** Names of LoRAs, or null before they are loaded. */
const loras = signal(null);

async function loadLoras() {
  if (loras.peek()) return;
  loras.value = [];
  loras.value = (await get("/loras").catch(() => ({ loras: [] }))).loras.map((one) => one.name);
}

/** What may be an axis with the present model: `{name, label, option}`; `option` has its type, range and choices. */
function listChoices() {
  const known = findCommand("grid")?.options.find((one) => one.name === "x")?.axis_options ?? [];
  const own = known.filter((name) => supportedOptions.value.has(name) && !UNUSED.includes(name)).map((name) => supportedOptions.value.get(name));
  const controls = usedPhotos.value.filter((photo) => photo.role === "control" && photo.kind);
  const weight = { type: "number", minimum: 0, maximum: 2 };
  return [
    { name: "prompt", label: t("Words of the prompt"), option: { type: "string" } },
    ...own.filter((one) => one.type !== "boolean").map((one) => ({ name: one.name, label: labelOfOption(one.name), option: one.name === "model" ? { ...one, choices: fittingModels.value.map((model) => model.name) } : one })),
    ...(loras.value ?? []).map((name) => ({ name: `lora:${name}`, label: t("Weight of {name}", { name }), option: weight })),
    ...controls.map(({ kind }) => ({ name: `control:${kind}`, label: t("Weight of the control {kind}", { kind }), option: weight })),
  ];
}

const change = (place, changes) => setAxes(gridAxes.peek().map((axis, index) => (index === place ? { ...axis, ...changes } : axis)));

function removeAxis(place) {
  const left = gridAxes.peek().filter((_axis, index) => index !== place);
  setAxes(left.length ? left : null);
}

function addAxis() {
  const used = gridAxes.peek().map((axis) => axis.option);
  const next = ["steps", "guidance_scale", "seed", "prompt"].find((name) => !used.includes(name) && listChoices().some((one) => one.name === name));
  setAxes([...gridAxes.peek(), { option: next ?? listChoices().find((one) => !used.includes(one.name)).name, values: "" }]);
  requestAnimationFrame(() => document.getElementById(`axis-values-${gridAxes.peek().length - 1}`)?.focus());
}

const splitValues = (text) => text.split(",").map((one) => one.trim()).filter(Boolean);

function toggleValue(place, values, choice) {
  const all = splitValues(values);
  change(place, { values: (all.includes(choice) ? all.filter((one) => one !== choice) : [...all, choice]).join(", ") });
}

function hintOf(name, option) {
  if (name === "prompt") return t("The first one is replaced in the prompt by each of the others: fox, cat, owl");
  const range = { low: option.minimum, high: option.maximum };
  if (option.type === "integer" && option.maximum) return t("{low} to {high}, as a list or a range: 4, 8 or 4-20:4", range);
  if (option.type === "number" && option.maximum) return t("{low} to {high}, as a list or a range: 1, 1.5 or 1-2:0.25", range);
  return t("Separated by commas; values with commas in quotes");
}

function choicesView(place, axis, { choices = [] }) {
  if (!choices?.length || choices.length > MAX_CHOICES) return nothing;
  const chosen = splitValues(axis.values);
  return html`
    <div class="row axes-choices" role="group" aria-label=${t("Known values")}>
      ${choices.map((choice) => html`<button type="button" class="chip" aria-pressed=${chosen.includes(choice) ? "true" : "false"} @click=${() => toggleValue(place, axis.values, choice)}>${choice}</button>`)}
    </div>`;
}

function axisView(axis, place, choices) {
  const chosen = choices.find((one) => one.name === axis.option) ?? { name: axis.option, label: axis.option, option: {} };
  const used = gridAxes.value.map((one) => one.option);
  const offered = [...(choices.includes(chosen) ? [] : [chosen]), ...choices.filter((one) => one === chosen || !used.includes(one.name))];
  const name = NAMES[place]();
  return html`
    <div class="axes-axis" role="group" aria-label=${name}>
      <label class="axes-option"><span>${name}</span>
        <select @change=${(event) => change(place, { option: event.target.value, values: "" })}>
          ${offered.map((one) => html`<option value=${one.name} .selected=${one === chosen}>${one.label}</option>`)}
        </select>
      </label>
      <label class="axes-values" for=${`axis-values-${place}`}><span>${t("Values")}</span>
        <input id=${`axis-values-${place}`} type="text" maxlength="2000" autocomplete="off" .value=${live(axis.values)} aria-describedby=${`axis-hint-${place}`} aria-invalid=${refusal.value?.option === "xyz"[place] ? "true" : nothing} @input=${(event) => change(place, { values: event.target.value })}>
      </label>
      <button type="button" class="icon-button" aria-label=${t("Remove: {name}", { name })} title=${t("Remove")} @click=${() => removeAxis(place)}>${icon("close")}</button>
      <p class="hint" id=${`axis-hint-${place}`}>${hintOf(chosen.name, chosen.option)}</p>
      ${choicesView(place, axis, chosen.option)}
    </div>`;
}

/** Shown while a grid is wanted. */
export function axesView() {
  void loadLoras();
  const choices = listChoices();
  return html`
    <fieldset class="axes">
      <legend>${t("Grid: one picture for each combination of these values")}</legend>
      ${gridAxes.value.map((axis, place) => axisView(axis, place, choices))}
      ${gridAxes.value.length < MAX_AXES ? html`<button type="button" class="chip" @click=${addAxis}>${icon("plus")}${gridAxes.value.length === 1 ? t("Add rows") : t("Add sheets")}</button>` : nothing}
    </fieldset>`;
}
