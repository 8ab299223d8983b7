// Which pictures are selected: one click or key for each, Shift for all between.

import { computed, signal } from "../core/render.js";
import { entries } from "./listing.js";

/** Keys of the selected entries. */
export const selected = signal(new Set());
/** Whether a click selects instead of opening. */
export const isSelecting = signal(false);

let anchor = null;

export const isSelectMode = computed(() => isSelecting.value || selected.value.size > 0);

/** The selected entries that are still there, in order. */
export const selectedEntries = computed(() => entries.value.filter((entry) => selected.value.has(entry.key)));

/** @param {string} key */
export function toggle(key) {
  const keys = new Set(selected.peek());
  if (!keys.delete(key)) keys.add(key);
  anchor = key;
  selected.value = keys;
}

/** Selects the range from where the selection began. @param {string} key @param {string} [from] where it begins if nothing was selected yet */
export function selectTo(key, from = key) {
  const keys = entries.peek().map((entry) => entry.key);
  if (!anchor || !keys.includes(anchor)) anchor = from;
  const [start, end] = [keys.indexOf(anchor), keys.indexOf(key)].sort((one, other) => one - other);
  selected.value = new Set([...selected.peek(), ...keys.slice(Math.max(0, start), end + 1)]);
}

/** All that are loaded. */
export function selectAll() {
  selected.value = new Set(entries.peek().map((entry) => entry.key));
}

export function clearSelection() {
  anchor = null;
  isSelecting.value = false;
  if (selected.peek().size) selected.value = new Set();
}
