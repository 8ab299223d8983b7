// The option fields, built from GET /commands and GET /models, so a new option appears without a change here.

import { byId, h } from "./dom.js";

const LABELS = {
  model: "Model", style: "Style", negative_prompt: "Negative prompt", seed: "Seed", count: "Number of pictures", steps: "Steps",
  guidance_scale: "Guidance", width: "Width", height: "Height", aspect: "Aspect ratio", sampler: "Sampler",
  strength: "Denoising strength",
};
const ORDER = Object.keys(LABELS);
const NOT_FIELDS = new Set(["prompt", "size"]);
const ASPECTS = [["", "Model default"], ["1:1", "Square"], ["4:3", "Landscape 4:3"], ["3:4", "Portrait 3:4"], ["16:9", "Wide 16:9"], ["9:16", "Tall 9:16"]];
const MAX_SEED = 4294967295;

let models = [];
let demoNotes = new Map();
const inputs = new Map();

export function buildOptions(commands, allModels) {
  const command = commands.find((one) => one.name === "imagine");
  demoNotes = new Map(allModels.filter((model) => model.demo).map((model) => [model.name, model.note]));
  models = allModels.filter((model) => command?.models.includes(model.name));
  const rank = (option) => (ORDER.indexOf(option.name) + 1 || ORDER.length + 1);
  const isField = (option) => !NOT_FIELDS.has(option.name) && !(option.name === "style" && !option.choices.length);
  const options = (command?.options || []).filter(isField).sort((one, other) => rank(one) - rank(other));
  const fields = byId("fields");
  fields.replaceChildren(...options.map(buildField));
  fields.addEventListener("input", showChosen);
  inputs.get("model")?.addEventListener("change", applyModel);
  applyModel();
}

function buildField(option) {
  const id = `option-${option.name}`;
  const input = buildInput(option, id);
  inputs.set(option.name, input);
  const label = LABELS[option.name] || option.name.replaceAll("_", " ");
  const buttons = option.name === "seed" ? buildSeedButtons(input) : null;
  return h("div", { class: `field field-${option.name}`, title: option.help },
    h("label", { for: id }, label), buttons ? h("div", { class: "row" }, input, buttons) : input);
}

function buildInput(option, id) {
  const common = { id, name: option.name, autocomplete: "off" };
  if (option.name === "model") return buildSelect(common, models.map((model) => [model.name, model.demo ? `${model.name} (demo)` : model.name]));
  if (option.name === "aspect") return buildSelect(common, ASPECTS);
  if (option.name === "count") return buildSelect(common, [1, 2, 3, 4].filter((n) => n <= option.maximum).map((n) => [String(n), String(n)]));
  if (option.name === "style") return buildSelect(common, [["", "None"], ...option.choices.map((choice) => [choice, choice])]);
  if (option.choices) return buildSelect(common, [["", "Model default"], ...option.choices.map((choice) => [choice, choice])]);
  if (option.name === "strength") return h("input", { ...common, type: "range", min: 0.05, max: 1, step: 0.05, value: 0.6 });
  if (option.type === "boolean") return h("input", { ...common, type: "checkbox" });
  if (option.type === "string") return h("textarea", { ...common, rows: 1, maxlength: option.max_length });
  const step = option.type === "integer" ? 1 : "any";
  return h("input", { ...common, type: "number", inputmode: "decimal", min: option.minimum, max: option.maximum, step });
}

const buildSelect = (attributes, pairs) =>
  h("select", attributes, pairs.map(([value, text]) => h("option", { value }, text)));

function buildSeedButtons(input) {
  const set = (value) => () => {
    input.value = value();
    showChosen();
  };
  const random = () => crypto.getRandomValues(new Uint32Array(1))[0] % (MAX_SEED + 1);
  input.placeholder = "random";
  return [
    h("button", { type: "button", class: "subtle", click: set(random), "aria-label": "Roll a seed" }, "Roll"),
    h("button", { type: "button", class: "subtle", click: set(() => ""), "aria-label": "New seed each time" }, "Clear"),
  ];
}

/** Applies the ranges and defaults of the chosen model. */
function applyModel() {
  const model = chosenModel();
  for (const option of model?.options || []) {
    const input = inputs.get(option.name);
    if (!input) continue;
    if (input.type === "number") {
      Object.assign(input, { min: option.minimum, max: option.maximum, placeholder: option.default });
      if (option.multiple_of) input.step = option.multiple_of;
    } else if (option.choices && input.tagName === "SELECT") {
      for (const choice of input.options) choice.hidden = choice.disabled = Boolean(choice.value) && !option.choices.includes(choice.value);
      if (input.selectedOptions[0]?.disabled) input.value = "";
    } else if (input.type === "range") input.value = option.default;
  }
  for (const name of ["negative_prompt", "strength"]) {
    inputs.get(name)?.toggleAttribute("disabled", !model?.options.some((option) => option.name === name));
  }
  showChosen();
}

export const isDemo = (name) => demoNotes.has(name);

/** The composer has a button about the demo model, so its note is not repeated under each picture. */
export const isDemoNote = (note) => [...demoNotes.values()].includes(note);

const chosenModel = () => models.find((model) => model.name === inputs.get("model")?.value) || models[0];

/** The chosen options of a request; `strength` only applies to an input picture. */
export function chosenOptions(hasImage) {
  const chosen = {};
  for (const [name, input] of inputs) {
    if (input.disabled || (name === "strength" && !hasImage)) continue;
    if (input.type === "checkbox") {
      if (input.checked) chosen[name] = true;
    } else if (input.value.trim() !== "") {
      const isNumber = ["number", "range"].includes(input.type) || name === "count";
      chosen[name] = isNumber ? Number(input.value) : input.value;
    }
  }
  return chosen;
}

/** Fills in the options of an earlier job (or of a picture's parameters); all others return to the model's defaults. */
export function restoreOptions(options) {
  for (const [name, input] of inputs) {
    if (name === "model" && !models.some((model) => model.name === options.model)) continue;
    const value = options[name];
    if (input.type === "checkbox") input.checked = Boolean(value);
    else if (value !== undefined && value !== null) input.value = value;
    else if (input.tagName !== "SELECT") input.value = input.type === "range" ? input.value : "";
    else if (name !== "model") input.selectedIndex = 0;
  }
  if (options.width && options.height && inputs.has("aspect")) inputs.get("aspect").value = "";
  applyModel();
}

/** Marks the field that an error is about, and opens the options if it is one of them. */
export function markInvalid(name) {
  const fieldName = { negative: "negative_prompt", guidance: "guidance_scale", size: "width" }[name] || name;
  for (const [known, input] of inputs) input.toggleAttribute("aria-invalid", known === fieldName);
  if (inputs.has(fieldName)) byId("options").open = true;
}

/** Lists the options that differ from the defaults beside the summary. */
function showChosen() {
  const chosen = chosenOptions(false);
  delete chosen.count;
  if (chosen.model === models[0]?.name) delete chosen.model;
  if (inputs.get("count")?.value !== "1") chosen.count = inputs.get("count")?.value;
  const items = Object.entries(chosen).map(([name, value]) => `${(LABELS[name] || name).toLowerCase()} ${String(value).slice(0, 24)}`);
  byId("options-chosen").textContent = items.length ? items.join(", ") : "";
}

export function showStrength(isShown) {
  byId("fields").classList.toggle("with-input-image", isShown);
}
