// The option fields, built from what GET /commands and GET /models say: a new option appears by itself.

import { byId, h } from "./dom.js";

const LABELS = {
  model: "Model", style: "Style", negative_prompt: "Keep out", seed: "Seed", count: "How many", steps: "Steps",
  guidance_scale: "Guidance", width: "Width", height: "Height", aspect: "Shape", sampler: "Sampler",
  strength: "How far to go from the photo",
};
const ORDER = Object.keys(LABELS);
const ELSEWHERE = new Set(["prompt", "size"]);
const SHAPES = [["", "The model's own"], ["1:1", "Square"], ["4:3", "Landscape 4:3"], ["3:4", "Portrait 3:4"], ["16:9", "Wide 16:9"], ["9:16", "Tall 9:16"]];
const MAX_SEED = 4294967295;

let command = null;
let models = [];
let demos = new Map();
let inputs = new Map();

export function buildOptions(commands, known) {
  command = commands.find((one) => one.name === "imagine");
  demos = new Map(known.filter((model) => model.demo).map((model) => [model.name, model.note]));
  models = known.filter((model) => command?.models.includes(model.name));
  const rank = (option) => (ORDER.indexOf(option.name) + 1 || ORDER.length + 1);
  const shown = (command?.options || []).filter((option) => !ELSEWHERE.has(option.name) && !(option.name === "style" && !option.choices.length));
  const fields = byId("fields");
  fields.replaceChildren(...shown.sort((one, other) => rank(one) - rank(other)).map(field));
  fields.addEventListener("input", refresh);
  inputs.get("model")?.addEventListener("change", narrow);
  narrow();
}

function field(option) {
  const id = `option-${option.name}`;
  const input = inputFor(option, id);
  inputs.set(option.name, input);
  const label = LABELS[option.name] || option.name.replaceAll("_", " ");
  const extra = option.name === "seed" ? seedButtons(input) : null;
  return h("div", { class: `field field-${option.name}`, title: option.help },
    h("label", { for: id }, label), extra ? h("div", { class: "row" }, input, extra) : input);
}

function inputFor(option, id) {
  const common = { id, name: option.name, autocomplete: "off" };
  if (option.name === "model") return select(common, models.map((model) => [model.name, model.demo ? `${model.name} (demo)` : model.name]));
  if (option.name === "aspect") return select(common, SHAPES);
  if (option.name === "count") return select(common, [1, 2, 3, 4].filter((n) => n <= option.maximum).map((n) => [String(n), String(n)]));
  if (option.name === "style") return select(common, [["", "None"], ...option.choices.map((choice) => [choice, choice])]);
  if (option.choices) return select(common, [["", "The model's own"], ...option.choices.map((choice) => [choice, choice])]);
  if (option.name === "strength") return h("input", { ...common, type: "range", min: 0.05, max: 1, step: 0.05, value: 0.6 });
  if (option.type === "boolean") return h("input", { ...common, type: "checkbox" });
  if (option.type === "string") return h("textarea", { ...common, rows: 1, maxlength: option.max_length });
  const step = option.type === "integer" ? 1 : "any";
  return h("input", { ...common, type: "number", inputmode: "decimal", min: option.minimum, max: option.maximum, step });
}

const select = (attributes, pairs) =>
  h("select", attributes, pairs.map(([value, words]) => h("option", { value }, words)));

function seedButtons(input) {
  const set = (value) => () => {
    input.value = value();
    refresh();
  };
  const random = () => crypto.getRandomValues(new Uint32Array(1))[0] % (MAX_SEED + 1);
  input.placeholder = "new each time";
  return [
    h("button", { type: "button", class: "quiet", click: set(random), "aria-label": "Roll a seed" }, "Roll"),
    h("button", { type: "button", class: "quiet", click: set(() => ""), "aria-label": "New seed each time" }, "Clear"),
  ];
}

/** Ranges and defaults of the model chosen. */
function narrow() {
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
  const takesNegative = Boolean(model?.options.some((option) => option.name === "negative_prompt"));
  inputs.get("negative_prompt")?.toggleAttribute("disabled", !takesNegative);
  refresh();
}

export const isDemo = (name) => demos.has(name);

/** The desk says it once; a label that says it again under each picture would only be noise. */
export const isDemoNote = (note) => [...demos.values()].includes(note);

export const chosenModel = () => models.find((model) => model.name === inputs.get("model")?.value) || models[0];

/** What was chosen, for a request; `strength` only makes sense with a photo. */
export function chosenOptions(hasPhoto) {
  const chosen = {};
  for (const [name, input] of inputs) {
    if (input.disabled || (name === "strength" && !hasPhoto)) continue;
    if (input.type === "checkbox") {
      if (input.checked) chosen[name] = true;
    } else if (input.value.trim() !== "") {
      const isNumber = ["number", "range"].includes(input.type) || name === "count";
      chosen[name] = isNumber ? Number(input.value) : input.value;
    }
  }
  return chosen;
}

/** Fill the fields in from an earlier job's options (or a picture's own); the rest goes back to the model's own. */
export function recall(options) {
  for (const [name, input] of inputs) {
    if (name === "model" && !models.some((model) => model.name === options.model)) continue;
    const value = options[name];
    if (input.type === "checkbox") input.checked = Boolean(value);
    else if (value !== undefined && value !== null) input.value = value;
    else if (input.tagName !== "SELECT") input.value = input.type === "range" ? input.value : "";
    else if (name !== "model") input.selectedIndex = 0;
  }
  if (options.width && options.height && inputs.has("aspect")) inputs.get("aspect").value = "";
  narrow();
}

/** Marks the field that a refusal is about, and opens the options if it is in there. */
export function point(name) {
  const plain = { negative: "negative_prompt", guidance: "guidance_scale", size: "width" }[name] || name;
  for (const [known, input] of inputs) input.toggleAttribute("aria-invalid", known === plain);
  if (inputs.has(plain)) byId("options").open = true;
}

/** The folded line says what differs from the defaults. */
function refresh() {
  const chosen = chosenOptions(false);
  delete chosen.count;
  if (chosen.model === models[0]?.name) delete chosen.model;
  if (inputs.get("count")?.value !== "1") chosen.count = inputs.get("count")?.value;
  const words = Object.entries(chosen).map(([name, value]) => `${(LABELS[name] || name).toLowerCase()} ${String(value).slice(0, 24)}`);
  byId("options-chosen").textContent = words.length ? words.join(", ") : "";
}

export function showStrength(isShown) {
  byId("fields").classList.toggle("with-photo", isShown);
}
