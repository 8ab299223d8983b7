// How models use the prompt of an edit: as an instruction, or as a description of the masked part.

import { computed } from "../core/render.js";
import { commands, models } from "../core/store.js";
import { choices } from "./draft.js";

const IMAGE_TO_IMAGE = "image-to-image";
const INSTRUCTION = "image-text-to-image";
const SEGMENTATION = "image-segmentation";

/** The models that repaint a part, or extend a picture. */
export const fittingModels = computed(() => {
  const tasks = choices.value.mode === "extend" ? [IMAGE_TO_IMAGE] : [IMAGE_TO_IMAGE, INSTRUCTION];
  return models.value.filter((model) => tasks.some((task) => model.tasks.includes(task)));
});

/** The model that is used: the chosen one, else the default. */
export const chosenModel = computed(() => {
  const fitting = fittingModels.value;
  const byDefault = (task) => fitting.find((model) => model.default_for.includes(task));
  const ofTask = choices.value.mode === "extend" ? null : byDefault(INSTRUCTION);
  return fitting.find((model) => model.name === choices.value.model) ?? ofTask ?? byDefault(IMAGE_TO_IMAGE) ?? fitting[0] ?? null;
});

/** Whether the prompt is an instruction; otherwise it describes the masked part. */
export const followsInstructions = computed(() => choices.value.mode === "repaint" && Boolean(chosenModel.value?.tasks.includes(INSTRUCTION)));
export const canFindRegions = computed(() => models.value.some((model) => model.tasks.includes(SEGMENTATION)));
/** Whether the models and commands are known. */
export const isKnown = computed(() => commands.value.length > 0);
