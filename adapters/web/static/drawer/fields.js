// Form fields built from GET /commands and GET /models, so new options appear automatically.

import { html, live, nothing } from "../core/render.js";
import { t } from "../core/text.js";
import { wrongOption } from "../create/composer.js";
import { choose, chosen, mode } from "../create/draft.js";

const MAX_SEED = 4294967295;
const LONG_TEXT = 300;
const LABELS = {
  negative_prompt: () => t("Negative prompt"), best: () => t("Best of"), seed: () => t("Seed"), steps: () => t("Steps"), guidance_scale: () => t("Guidance"),
  width: () => t("Width"), height: () => t("Height"), sampler: () => t("Sampler"), schedule: () => t("Schedule"),
  strength: () => t("Denoising strength"), region: () => t("Part to repaint"), keep: () => t("Repaint everything except this part"),
  inpaint_area: () => t("Inpaint area"), detail: () => t("Details to refine"), hires: () => t("Hires factor"),
  variation_seed: () => t("Variation seed"), variation_strength: () => t("Variation strength"),
  guidance_rescale: () => t("Guidance rescale"), clip_skip: () => t("Clip skip"), tiling: () => t("Seamless tiling"), enhance: () => t("Richer prompt"),
  image_guidance_scale: () => t("Image guidance"), num_beams: () => t("Beams"), temperature: () => t("Temperature"),
  top_p: () => t("Top-p"), top_k: () => t("Top-k"), num_return_sequences: () => t("Number of texts"), min_new_tokens: () => t("Minimum tokens"), max_new_tokens: () => t("Maximum tokens"), aspect: () => t("Aspect ratio"),
};

/** @param {string} name */
export const labelOfOption = (name) => LABELS[name]?.() ?? (name.charAt(0).toUpperCase() + name.slice(1)).replaceAll("_", " ");

/** Options that need no hint. */
const PLAIN = ["negative_prompt", "seed", "steps", "width", "height", "sampler", "schedule", "keep"];

const idOf = (name) => `option-${name}`;
const valueOf = (name) => chosen.value[mode.value][name];
const isWrong = (name) => (wrongOption.value === name ? "true" : "false");
const roll = () => crypto.getRandomValues(new Uint32Array(1))[0] % (MAX_SEED + 1);

function takeNumber(name, event) {
  const text = event.target.value.trim();
  if (text === "" && event.target.validity.badInput) return;
  choose({ [name]: text === "" ? null : Number(text) });
}

const numberField = (option) => html`
  <input id=${idOf(option.name)} type="number" inputmode="decimal" .value=${live(String(valueOf(option.name) ?? ""))} placeholder=${option.default ?? (option.name === "seed" ? t("random") : nothing)}
    min=${option.minimum ?? nothing} max=${option.maximum ?? nothing} step=${option.multiple_of ?? (option.type === "integer" ? 1 : "any")}
    aria-invalid=${isWrong(option.name)} autocomplete="off" @change=${(event) => takeNumber(option.name, event)}>`;

const seedField = (option) => html`
  <div class="row drawer-seed">
    ${numberField(option)}
    <button type="button" aria-label=${t("Shuffle the seed")} @click=${() => choose({ [option.name]: roll() })}>${t("Shuffle")}</button>
    ${valueOf(option.name) === undefined ? nothing : html`<button type="button" aria-label=${t("Clear: use a random seed")} @click=${() => choose({ [option.name]: null })}>${t("Clear")}</button>`}
  </div>`;

const rangeField = (option) => {
  const value = valueOf(option.name) ?? option.default ?? option.minimum;
  return html`
    <div class="drawer-range">
      <input id=${idOf(option.name)} type="range" min=${Math.max(0.05, option.minimum)} max=${option.maximum} step="0.05" .value=${live(String(value))}
        aria-invalid=${isWrong(option.name)} @input=${(event) => choose({ [option.name]: Number(event.target.value) })}>
      <output class="number" for=${idOf(option.name)}>${value}</output>
    </div>`;
};

const selectField = (option) => html`
  <select id=${idOf(option.name)} aria-invalid=${isWrong(option.name)} @change=${(event) => choose({ [option.name]: event.target.value })}>
    <option value="" .selected=${valueOf(option.name) === undefined}>${option.default ? t("Default: {value}", { value: option.default }) : t("Default")}</option>
    ${option.choices.map((choice) => html`<option value=${choice} .selected=${valueOf(option.name) === choice}>${choice}</option>`)}
  </select>`;

const textField = (option) => {
  const common = { value: live(valueOf(option.name) ?? ""), take: (event) => choose({ [option.name]: event.target.value }) };
  return option.max_length > LONG_TEXT
    ? html`<textarea id=${idOf(option.name)} rows="2" maxlength=${option.max_length} .value=${common.value} aria-invalid=${isWrong(option.name)} @input=${common.take}></textarea>`
    : html`<input id=${idOf(option.name)} type="text" maxlength=${option.max_length ?? nothing} .value=${common.value} aria-invalid=${isWrong(option.name)} autocomplete="off" @input=${common.take}>`;
};

const checkField = (option) => html`
  <label class="row drawer-check">
    <input id=${idOf(option.name)} type="checkbox" .checked=${live(Boolean(valueOf(option.name)))} @change=${(event) => choose({ [option.name]: event.target.checked || null })}>
    ${labelOfOption(option.name)}
  </label>`;

function inputOf(option) {
  if (["seed", "variation_seed"].includes(option.name)) return seedField(option);
  if (option.name === "strength") return rangeField(option);
  if (option.choices?.length) return selectField(option);
  return option.type === "string" ? textField(option) : numberField(option);
}

/** @param {object} option one of `supportedOptions` */
export function optionField(option) {
  const hint = PLAIN.includes(option.name) ? nothing : html`<span class="hint">${option.help}</span>`;
  if (option.type === "boolean") return html`<div class="field">${checkField(option)}${hint}</div>`;
  return html`
    <div class="field drawer-${option.name.replaceAll("_", "-")}">
      <label for=${idOf(option.name)}>${labelOfOption(option.name)}</label>
      ${inputOf(option)}
      ${hint}
    </div>`;
}
