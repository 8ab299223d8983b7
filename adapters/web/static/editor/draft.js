// The draft of an edit: mask operations, prompt and options. Saved in this browser for each picture.

import { batch, effect, signal } from "../core/render.js";
import { person } from "../core/store.js";

const MAX_KEPT = 12;
const MAX_UNDO = 200;
const MAX_JOBS = 12;
const PAUSE_MS = 250;
const CHOICES = {
  mode: "repaint", keep: false, feather: null, strength: null, area: "", count: 1, seed: null, model: "", extend: null,
};

/** "repaint" a part, or "extend" the picture; `extend` is `{command, options}`. The rest are options of the request. */
export const choices = signal(CHOICES);
export const words = signal("");
/** The mask's operations, oldest first: see strokes.js. */
export const operations = signal([]);
/** The ids of the jobs that were started, the latest last. */
export const jobIds = signal([]);
/** Ids of the jobs of the last request. */
export const lastIds = signal([]);
/** The undo and redo history: lists of operations. */
export const past = signal([]);
export const future = signal([]);

let key = null;
let counter = 0;
let stop = null;
let timer = null;
let unwritten = null;

/** @param {Record<string, unknown>} changes */
export const choose = (changes) => (choices.value = { ...choices.peek(), ...changes });

/** Replaces the operations; it can be undone. @param {object[]} next */
export function changeOperations(next) {
  batch(() => {
    past.value = [...past.peek(), operations.peek()].slice(-MAX_UNDO);
    future.value = [];
    operations.value = next;
  });
}

/** @param {object} operation without an id */
export const addOperation = (operation) => changeOperations([...operations.peek(), { id: ++counter, ...operation }]);

/** @param {number} id */
export const removeOperation = (id) => changeOperations(operations.peek().filter((operation) => operation.id !== id));

/** @param {string[]} ids of one request */
export function addJobs(ids) {
  batch(() => {
    jobIds.value = [...jobIds.peek(), ...ids].slice(-MAX_JOBS);
    lastIds.value = ids;
  });
}

/** Undoes or redoes one step. @returns {boolean} whether there was one */
export function undo(isForward = false) {
  const [from, to] = isForward ? [future, past] : [past, future];
  if (!from.peek().length) return false;
  batch(() => {
    to.value = [...to.peek(), operations.peek()];
    operations.value = from.peek().at(-1);
    from.value = from.peek().slice(0, -1);
  });
  return true;
}

const prefix = () => `easel.edit.${person.peek()?.name ?? ""}.`;

/** Restores the draft of a picture and saves its changes from now on. @param {string} id @param {{width: number, height: number}} size of the mask */
export function openDraft(id, size) {
  closeDraft();
  key = prefix() + id;
  const kept = read(key);
  const isFitting = kept?.size?.width === size.width && kept?.size?.height === size.height;
  const drawn = isFitting ? kept.operations : [];
  counter = Math.max(0, ...drawn.map((operation) => operation.id));
  batch(() => {
    words.value = kept?.words ?? "";
    choices.value = { ...CHOICES, ...kept?.choices };
    jobIds.value = kept?.jobIds ?? [];
    lastIds.value = [];
    operations.value = drawn;
    past.value = drawn.map((_operation, index) => drawn.slice(0, index));
    future.value = [];
  });
  let isFirst = true;
  stop = effect(() => {
    const draft = { words: words.value, choices: choices.value, operations: operations.value, jobIds: jobIds.value, size };
    clearTimeout(timer);
    if (!isFirst) {
      unwritten = draft;
      timer = setTimeout(flush, PAUSE_MS);
    }
    isFirst = false;
  });
}

/** Saves the draft and stops tracking it. */
export function closeDraft() {
  stop?.();
  stop = null;
  flush();
  key = null;
}

function flush() {
  clearTimeout(timer);
  if (unwritten && key) write(unwritten);
  unwritten = null;
}

window.addEventListener("pagehide", flush);

function write(draft) {
  const text = JSON.stringify({ ...draft, at: Date.now() });
  const others = listOthers();
  for (const other of others.slice(MAX_KEPT - 1)) localStorage.removeItem(other);
  for (const spare of [null, ...others.slice(0, MAX_KEPT - 1).reverse()]) {
    try {
      if (spare) localStorage.removeItem(spare);
      return void localStorage.setItem(key, text);
    } catch {
      // the storage is full, or there is none
    }
  }
}

/** The keys of other pictures' drafts, newest first. */
function listOthers() {
  try {
    const keys = Object.keys(localStorage).filter((name) => name.startsWith(prefix()) && name !== key);
    return keys.sort((one, other) => (read(other)?.at ?? 0) - (read(one)?.at ?? 0));
  } catch {
    return [];
  }
}

function read(name) {
  try {
    return JSON.parse(localStorage.getItem(name));
  } catch {
    return null;
  }
}
