// The choices beside the prompt: shape, count, quality, model, style.

import { html, nothing, repeat } from "../core/render.js";
import { t } from "../core/text.js";
import { fittingModels, model, supportedOptions } from "./capabilities.js";
import { choose, chosen, mode } from "./draft.js";

/** @type {[string, () => string][]} */
const SHAPES = [
  ["", () => t("Model default")], ["1:1", () => t("Square")], ["4:3", () => t("Landscape 4:3")],
  ["3:4", () => t("Portrait 3:4")], ["16:9", () => t("Wide 16:9")], ["9:16", () => t("Tall 9:16")],
];
const COUNTS = [1, 2, 4];
const QUICK = 0.5;
const BEST = 2;

/** Radio buttons in a row. `entries`: [value, label, what is shown instead of the label]. */
const segments = (name, legend, value, entries, onChange) => html`
  <fieldset class="segments create-segments">
    <legend class="visually-hidden">${legend}</legend>
    ${entries.map(([one, label, shown]) => html`
      <label title=${label}>
        <input type="radio" name=${name} .checked=${one === value} @change=${() => onChange(one)}>
        ${shown ? html`<span class="visually-hidden">${label}</span>${shown}` : html`<span>${label}</span>`}
      </label>`)}
  </fieldset>`;

const shapeOf = (ratio) => html`<span class="create-shape create-shape-${ratio.replace(":", "-") || "auto"}" aria-hidden="true"></span>`;

function shapeChip(values) {
  if (!supportedOptions.value.has("aspect")) return nothing;
  const isOwn = values.width || values.height;
  const entries = SHAPES.map(([ratio, label]) => [ratio, label(), shapeOf(ratio)]);
  const size = isOwn ? html`<span class="hint number">${values.width ?? "…"} × ${values.height ?? "…"}</span>` : nothing;
  return html`${segments("shape", t("Aspect ratio"), isOwn ? null : (values.aspect ?? ""), entries, (aspect) => choose({ aspect, width: null, height: null }))}${size}`;
}

function countChip(values) {
  const option = supportedOptions.value.get("count");
  if (!option) return nothing;
  const entries = COUNTS.filter((n) => n <= option.maximum).map((n) => [n, String(n)]);
  return segments("count", t("Number of pictures"), values.count ?? 1, entries, (count) => choose({ count: count === 1 ? null : count }));
}

/** Steps of each quality: the model's own, half and twice as many. */
export function qualitySteps({ default: steps, minimum = 1, maximum = 150 }) {
  const clamp = (value) => Math.min(maximum, Math.max(minimum, Math.round(value)));
  return { quick: clamp(steps * QUICK), best: clamp(steps * BEST) };
}

function qualityChip(values) {
  const option = supportedOptions.value.get("steps");
  if (!option?.default) return nothing;
  const { quick, best } = qualitySteps(option);
  const entries = [[quick, t("Quick")], [null, t("Normal")], [best, t("Best")]].filter(([steps]) => steps !== option.default);
  const value = values.steps === option.default ? null : (values.steps ?? null);
  const isOwn = !entries.some(([steps]) => steps === value);
  return html`
    ${segments("quality", t("Quality"), value, entries, (steps) => choose({ steps }))}
    ${isOwn ? html`<span class="hint number">${t("{n} steps", { n: value })}</span>` : nothing}`;
}

const selectChip = (label, value, entries, onChange) => html`
  <label class="create-select">
    <span>${label}</span>
    <select @change=${(event) => onChange(event.target.value)}>
      ${repeat(entries, ([one]) => one, ([one, shown]) => html`<option value=${one} .selected=${one === value}>${shown}</option>`)}
    </select>
  </label>`;

function modelChip() {
  const entries = fittingModels.value.map((one) => [one.name, one.demo ? t("{model} (demo)", { model: one.name }) : one.name]);
  return entries.length ? selectChip(t("Model"), model.value?.name, entries, (name) => choose({ model: name })) : nothing;
}

function styleChip(values) {
  const choices = supportedOptions.value.get("style")?.choices ?? [];
  if (!choices.length) return nothing;
  return selectChip(t("Style"), values.style ?? "", [["", t("None")], ...choices.map((one) => [one, one])], (style) => choose({ style }));
}

export function chipsView() {
  const values = chosen.value[mode.value];
  return html`${shapeChip(values)}${countChip(values)}${qualityChip(values)}${modelChip()}${styleChip(values)}`;
}
