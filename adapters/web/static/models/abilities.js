// What models are good for, in words, by the Hub's names of tasks.

import { t } from "../core/text.js";

/** Groups of tasks, as one filters by them. */
export const GROUPS = [
  { name: "make", icon: "create", label: t("Make pictures"), tasks: ["text-to-image"] },
  { name: "edit", icon: "edit", label: t("Edit pictures"), tasks: ["image-to-image", "image-text-to-image"] },
  { name: "ask", icon: "ask", label: t("Describe and answer"), tasks: ["image-to-text", "visual-question-answering", "zero-shot-image-classification"] },
  { name: "find", icon: "brush", label: t("Find and trace"), tasks: ["image-segmentation", "depth-estimation", "keypoint-detection"] },
  { name: "enlarge", icon: "upscale", label: t("Enlarge"), tasks: ["image-upscaling"] },
];

const SENTENCES = {
  "text-to-image": t("Makes pictures from words."),
  "image-to-image": t("Makes new pictures from one of yours."),
  "image-text-to-image": t("Edits pictures as you tell it."),
  "image-to-text": t("Describes pictures."),
  "visual-question-answering": t("Answers questions about pictures."),
  "zero-shot-image-classification": t("Rates which words fit a picture."),
  "image-segmentation": t("Finds what you name in a picture, for masks and cutouts."),
  "depth-estimation": t("Reads how far things are, so that a new picture keeps the scene."),
  "keypoint-detection": t("Reads poses, so that people in a new picture stand alike."),
  "image-upscaling": t("Enlarges pictures."),
};

const SHORT = {
  "text-to-image": t("pictures from words"),
  "image-to-image": t("pictures from pictures"),
  "image-text-to-image": t("edits"),
  "image-to-text": t("descriptions"),
  "visual-question-answering": t("answers"),
  "zero-shot-image-classification": t("matching words"),
  "image-segmentation": t("masks"),
  "depth-estimation": t("depth"),
  "keypoint-detection": t("poses"),
  "image-upscaling": t("enlarging"),
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
