// What each mode and the chosen model support, from GET /commands and GET /models.

import { computed } from "../core/render.js";
import { commands, models } from "../core/store.js";
import { chosen, mode, photos } from "./draft.js";

const IMAGE_TO_IMAGE = "image-to-image";
const INSTRUCTION = "image-text-to-image";
const CHATS = "image-text-to-text";
const SEGMENTATION = "image-segmentation";
const ADVANCED_OPTIONS = ["hires", "variation_seed", "variation_strength", "guidance_rescale", "clip_skip", "tiling", "schedule"];
const MODEL_OPTIONS = ["guidance_scale", "image_guidance_scale", "negative_prompt", "sampler", "strength"];
const REGION_OPTIONS = ["region", "keep", "detail"];

export const findCommand = (name) => commands.value.find((one) => one.name === name);
export const command = computed(() => findCommand(mode.value));
/** The main option: the prompt or the question. */
export const mainOption = computed(() => command.value?.options.find((option) => option.required && option.type === "string"));
export const canName = computed(() => models.value.some((model) => model.tasks.includes(SEGMENTATION)));
const hasInstruction = computed(() => models.value.some((model) => model.default_for.includes(INSTRUCTION)));

/** The models of the current mode. Any image-to-image model can edit a part. */
export const fittingModels = computed(() => {
  const names = command.value?.models ?? [];
  const isFitting = (model) => names.includes(model.name) || (mode.value === "edit" && model.tasks.includes(IMAGE_TO_IMAGE));
  return models.value.filter(isFitting);
});

export const model = computed(() => {
  const wanted = chosen.value[mode.value].model;
  const fitting = fittingModels.value;
  const tasks = mode.value === "edit" && !hasInstruction.value ? [IMAGE_TO_IMAGE] : (command.value?.tasks ?? []);
  return fitting.find((one) => one.name === wanted) ?? fitting.find((one) => one.default_for.some((task) => tasks.includes(task))) ?? fitting[0];
});

/** Whether an edit needs a part: the model cannot follow instructions. */
export const needsPart = computed(() => mode.value === "edit" && Boolean(model.value) && !model.value.tasks.includes(INSTRUCTION));

/** The photos that the current mode uses, up to the limit of each role. */
export const usedPhotos = computed(() => {
  const limits = { ...command.value?.images.limits, ...(mode.value === "ask" && { init: photoLimit.value }) };
  const counts = {};
  return photos.value.filter((photo) => {
    counts[photo.role] = (counts[photo.role] ?? 0) + 1;
    return counts[photo.role] <= (limits[photo.role] ?? 0);
  });
});

export const hasPhoto = computed(() => usedPhotos.value.some((photo) => photo.role === "init"));

/** The maximum number of init photos in the current mode. */
export const photoLimit = computed(() => {
  const limit = command.value?.images.limits.init ?? 0;
  return mode.value === "imagine" ? limit : Math.min(limit, Math.max(1, model.value?.max_images ?? 1));
});

/** The options that the current mode and model support, by name, each with the model's range and default. */
export const supportedOptions = computed(() => {
  const ofModel = new Map((model.value?.options ?? []).map((option) => [option.name, option]));
  const all = command.value?.options ?? [];
  return new Map(all.filter((option) => isSupported(option, ofModel)).map((option) => [option.name, merge(option, ofModel.get(option.name))]));
});

function isSupported(option, ofModel) {
  const { name } = option;
  if (option.required || name === "size") return false;
  if (name === "adapter") return ofModel.has(name);
  if (name === "count") return !chosen.value[mode.value].best;
  if (MODEL_OPTIONS.includes(name) && ofModel.size && !ofModel.has(name)) return false;
  if (name === "strength") return hasPhoto.value;
  if (["keep", "inpaint_area"].includes(name) && mode.value === "imagine" && !hasPhoto.value) return false;
  if (name === "region" && mode.value === "imagine" && !hasPhoto.value) return false;
  if (REGION_OPTIONS.includes(name) && !canName.value) return name === "keep" && usedPhotos.value.some((photo) => photo.role === "mask");
  if (name === "image_guidance_scale") return !needsPart.value;
  if (name === "enhance") return models.value.some((one) => one.tasks.includes(CHATS));
  if (name === "hires" && !model.value?.tasks.includes(IMAGE_TO_IMAGE)) return false;
  return !ADVANCED_OPTIONS.includes(name) || modelSupports(name);
}

/** A model that was never loaded does not report which of these it supports. */
function modelSupports(name) {
  const { further_options: further = [], loaded = false } = model.value ?? {};
  return further.length ? further.includes(name) : !loaded;
}

function merge(option, ofModel) {
  const merged = { ...option, ...ofModel };
  if (option.name === "schedule") {
    const sampler = chosen.value[mode.value].sampler;
    const taken = sampler && model.value?.schedules[sampler];
    if (taken) merged.choices = option.choices.filter((choice) => taken.includes(choice));
  }
  return merged;
}

/** The chosen options that apply in the current mode. */
export const activeOptions = computed(() => {
  const values = Object.entries(chosen.value[mode.value]);
  const known = fittingModels.value.map((one) => one.name);
  return Object.fromEntries(values.filter(([name, value]) => supportedOptions.value.has(name) && (name !== "model" || known.includes(value))));
});
