// Short names of jobs and their pictures.

import { t } from "./text.js";

const SHORT = 60;

/** What was asked, as it was typed, else the command. @param {object} job */
export const promptOf = (job) => job.options.asked?.prompt || job.options.prompt || job.options.question || job.options.texts || labelOfCommand(job.command);

/** The name of a command as a label. @param {string} name */
export const labelOfCommand = (name) => name.charAt(0).toUpperCase() + name.slice(1);

/** @param {string} text @param {number} [length] */
export const shorten = (text, length = SHORT) => (text.length > length ? `${text.slice(0, length - 1).trimEnd()}…` : text);

/** A short name for one picture: "a red fox, picture 2 of 4". @param {object} job @param {number} n */
export function nameOf(job, n) {
  const title = shorten(promptOf(job));
  const count = job.result?.media.length ?? 0;
  if (count > 1) return t("{title}, picture {n} of {count}", { title, n, count });
  return job.facts?.cell ? t("{title}, {cell} of a grid", { title, cell: job.facts.cell }) : title;
}
