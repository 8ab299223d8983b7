// Which picture the shown one is compared with.

import { signal } from "../core/render.js";
import { jobs } from "../core/store.js";
import { t } from "../core/text.js";

/** The id of the picture on the left, or null: nothing is compared. */
export const compared = signal(null);
/** Of the picture on the left, percent. */
export const share = signal(50);

/** Pictures to compare with: sources, earlier pictures, others of the request. @param {object} job @param {number} number */
export function candidatesOf(job, number) {
  const parent = job.parent ? jobs.value.get(job.parent)?.value : null;
  const mine = job.result?.media[number - 1]?.id;
  const sources = job.images.filter((image) => image.role !== "mask").map((image) => [image.id, t("Source picture")]);
  const others = (job.result?.media ?? []).map((media, index) => [media?.id, t("Picture {n}", { n: index + 1 })]);
  const earlier = (parent?.result?.media ?? []).map((media, index) => [media?.id, t("Earlier picture {n}", { n: index + 1 })]);
  const unique = new Map();
  for (const [id, label] of [...sources, ...earlier, ...others]) if (id && id !== mine && !unique.has(id)) unique.set(id, label);
  return [...unique];
}

export function toggleCompare(job, number) {
  const candidates = candidatesOf(job, number);
  compared.value = compared.peek() ? null : (candidates[0]?.[0] ?? null);
  share.value = 50;
  return candidates.length > 0;
}
