// The draft: mode, prompt, options and photos. Saved in this browser, per person.

import { newId } from "../core/api.js";
import { batch, computed, signal, storedSignal } from "../core/render.js";
import { person } from "../core/store.js";

const owner = person.peek()?.name ?? "";

/** "imagine", "edit" or "ask": what Enter does. */
export const mode = storedSignal(`create.mode.${owner}`, "imagine");
export const prompt = storedSignal(`create.prompt.${owner}`, "");
/** The options that were chosen, by mode; what is absent is the model's default. */
export const chosen = storedSignal(`create.options.${owner}`, { imagine: {}, edit: {}, ask: {} });
/**
 * Stored pictures that the request uses: `{key, id, name, role, kind, weight, start, end, ready, recalled}`; `recalled`
 * holds the generation settings in the file's metadata.
 */
export const photos = storedSignal(`create.photos.${owner}`, []);
/** The id of the answer that the next question follows up on; empty: none. */
export const followed = signal("");
/** The prompts that were sent, newest first. */
export const sentPrompts = storedSignal(`create.history.${owner}`, []);

/** The axes of a grid, x first: `{option, values}` with the values as text; null: no grid. */
const axes = storedSignal(`create.axes.${owner}`, null);
export const gridAxes = computed(() => (mode.value === "imagine" ? axes.value : null));
/** @param {{option: string, values: string}[] | null} changed */
export const setAxes = (changed) => (axes.value = changed);

const MAX_SENT = 100;

/** Sets options of the present mode; undefined, null and "" return one to its default. @param {Record<string, unknown>} changes */
export function choose(changes) {
  const options = { ...chosen.peek()[mode.peek()], ...changes };
  for (const [name, value] of Object.entries(options)) if (value === undefined || value === null || value === "") delete options[name];
  chosen.value = { ...chosen.peek(), [mode.peek()]: options };
}

/** @param {string} text */
export function rememberPrompt(text) {
  if (text.trim()) sentPrompts.value = [text, ...sentPrompts.peek().filter((other) => other !== text)].slice(0, MAX_SENT);
}

/** A photo of the draft. @param {string} id @param {object} [said] its role, and what else is known */
export const newPhoto = (id, said = {}) => ({ key: newId(), id, name: "", role: "init", kind: "", weight: 1, start: 0, end: 1, ready: false, recalled: null, ...said });

/** @param {object} photo one of `photos` @param {object} changes */
export const changePhoto = ({ key }, changes) => (photos.value = photos.peek().map((photo) => (photo.key === key ? { ...photo, ...changes } : photo)));

/** @param {object} photo one of `photos` */
export const removePhoto = ({ key }) => (photos.value = photos.peek().filter((photo) => photo.key !== key));

/** Replaces the draft; it makes no grid then. @param {{mode: string, prompt: string, options: object, photos?: object[]}} draft without photos, those of the draft stay */
export function fillDraft(draft) {
  batch(() => {
    mode.value = draft.mode;
    setAxes(null);
    prompt.value = draft.prompt;
    chosen.value = { ...chosen.peek(), [draft.mode]: draft.options };
    if (draft.photos) photos.value = draft.photos;
  });
}
