// Starts something from a job or a picture, from anywhere on the page.

import { get } from "../core/api.js";
import { navigate } from "../core/router.js";
import { t } from "../core/text.js";
import { findCommand } from "./capabilities.js";
import { fillDraft, mode, newPhoto } from "./draft.js";
import { photoNote, startWithPhoto } from "./photos.js";

const MODES = ["imagine", "edit", "ask"];
const WAYS = ["words", "all", "all_but_seed"];

/**
 * Opens Create with what a job was made of, or with a picture as the photo.
 * @param {{job?: string, picture?: number | string, how?: "words" | "all" | "all_but_seed", mode?: "imagine" | "edit" | "ask"}} from
 *   with `job`, `picture` is the number of one of its pictures; without, the id of a stored picture
 */
export function startFrom({ job = "", picture = "", how = "all", mode: wanted = "" }) {
  const query = job ? { reuse: job, how, ...(picture && { picture: String(picture) }) } : { image: String(picture), ...(wanted && { mode: wanted }) };
  return navigate(`/?${new URLSearchParams(query)}`);
}

/** Takes over what an address asks for; whether it asked for something. @param {URLSearchParams} query */
export async function takeIntent(query) {
  const [job, image] = [query.get("reuse"), query.get("image")];
  const wanted = query.get("mode");
  if (MODES.includes(wanted)) mode.value = wanted;
  if (image && /^[0-9a-f]{64}$/.test(image)) startWithPhoto(image);
  else if (image) photoNote.value = t("This picture does not exist.");
  if (job) await reuse(job, query.get("picture"), WAYS.includes(query.get("how")) ? query.get("how") : "all");
  return Boolean(job || image || wanted);
}

async function reuse(job, picture, how) {
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
