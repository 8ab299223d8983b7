// Fills the draft from the recipe of a job.

import { get } from "../core/api.js";
import { effect } from "../core/render.js";
import { commands, storeError } from "../core/store.js";
import { t } from "../core/text.js";
import { findCommand } from "../create/capabilities.js";
import { fillDraft, mode, newPhoto } from "../create/draft.js";
import { photoNote, startWithPhoto } from "../create/photos.js";

const MODES = ["imagine", "edit", "ask"];
const WAYS = ["words", "all", "all_but_seed"];

const whenLoaded = () => new Promise((resolve) => {
  const stop = effect(() => {
    if (commands.value.length || storeError.value) queueMicrotask(() => resolve(stop()));
  });
});

/** Applies the intent of a URL. @param {URLSearchParams} query */
export async function applyIntent(query) {
  const [job, image] = [query.get("reuse"), query.get("image")];
  const wanted = query.get("mode");
  await whenLoaded();
  if (MODES.includes(wanted)) mode.value = wanted;
  if (image && /^[0-9a-f]{64}$/.test(image)) startWithPhoto(image);
  else if (image) photoNote.value = t("This picture does not exist.");
  if (job) await applyRecipe(job, query.get("picture"), query.get("how"));
}

/**
 * Fills the draft with a job's recipe.
 * @param {string} job its id @param {string | null} picture the number of one of its pictures @param {string | null} way
 */
async function applyRecipe(job, picture, way) {
  const how = WAYS.includes(way) ? way : "all";
  const number = picture ? `?picture=${encodeURIComponent(picture)}` : "";
  let recipe = null;
  try {
    recipe = await get(`/jobs/${encodeURIComponent(job)}/recipe${number}`);
  } catch (error) {
    photoNote.value = error.message;
    return;
  }
  const main = findCommand(recipe.command)?.options.find((option) => option.required && option.type === "string")?.name ?? "prompt";
  const { [main]: words = "", ...options } = recipe[how];
  const isOwn = MODES.includes(recipe.command);
  const isWords = how === "words" || !isOwn;
  const there = recipe.images.filter((one) => one.available);
  fillDraft({
    mode: isOwn ? recipe.command : "imagine",
    prompt: words,
    options: isOwn ? options : recipe.words.style ? { style: recipe.words.style } : {},
    ...(!isWords && { photos: there.map((one) => newPhoto(one.id, { role: one.role, kind: one.kind, weight: one.weight, start: one.start, end: one.end, ready: one.ready })) }),
  });
  photoNote.value = isWords ? "" : recipe.notes.join(" ");
}
