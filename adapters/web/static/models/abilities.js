// Descriptions of what models do, by the Hub's task names.

import { t } from "../core/text.js";

/** Groups of tasks, as one filters by them. @type {{name: string, icon: import("../core/icons.js").IconName, label: string, tasks: string[]}[]} */
export const GROUPS = [
  { name: "make", icon: "create", label: t("Create pictures"), tasks: ["text-to-image"] },
  { name: "edit", icon: "edit", label: t("Edit pictures"), tasks: ["image-to-image", "image-text-to-image"] },
  { name: "ask", icon: "ask", label: t("Describe and answer"), tasks: ["image-to-text", "visual-question-answering", "zero-shot-image-classification"] },
  { name: "find", icon: "brush", label: t("Detect and segment"), tasks: ["image-segmentation", "depth-estimation", "keypoint-detection"] },
  { name: "enlarge", icon: "upscale", label: t("Upscale"), tasks: ["image-upscaling"] },
];

const SENTENCES = {
  "text-to-image": t("Creates pictures from prompts."),
  "image-to-image": t("Creates new pictures from an existing one."),
  "image-text-to-image": t("Edits pictures by instruction."),
  "image-to-text": t("Describes pictures."),
  "visual-question-answering": t("Answers questions about pictures."),
  "image-text-to-text": t("Holds conversations about several pictures."),
  "zero-shot-image-classification": t("Scores how well texts match a picture."),
  "image-segmentation": t("Finds objects by name, for masks and cutouts."),
  "depth-estimation": t("Estimates depth, so a new picture keeps the layout."),
  "keypoint-detection": t("Detects poses, so people in a new picture keep them."),
  "image-upscaling": t("Upscales pictures."),
};

const SHORT = {
  "text-to-image": t("text to image"),
  "image-to-image": t("image to image"),
  "image-text-to-image": t("edits"),
  "image-to-text": t("captions"),
  "visual-question-answering": t("answers"),
  "image-text-to-text": t("conversations"),
  "zero-shot-image-classification": t("text matching"),
  "image-segmentation": t("masks"),
  "depth-estimation": t("depth"),
  "keypoint-detection": t("poses"),
  "image-upscaling": t("upscaling"),
};

const LIST = new Intl.ListFormat(document.documentElement.lang || "en", { type: "conjunction" });

/** @param {{tasks: string[]}} model */
export const describeAbilities = ({ tasks }) => tasks.map((task) => SENTENCES[task] ?? task).join(" ");

/** @param {string[]} tasks */
export const listTasks = (tasks) => LIST.format(tasks.map((task) => SHORT[task] ?? task));

/** The group that a model mostly belongs to. @param {{tasks: string[]}} model */
export const mainGroup = ({ tasks }) => GROUPS.find((group) => group.tasks.some((task) => tasks.includes(task))) ?? GROUPS[0];

/** @param {{tasks: string[]}} model @param {string | null} name of a group */
export const isInGroup = ({ tasks }, name) => !name || tasks.some((task) => GROUPS.find((group) => group.name === name)?.tasks.includes(task));
