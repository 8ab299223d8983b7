// Keyboard shortcuts: single keys that work while no text is being typed, listed by "?".

import { signal } from "./render.js";

/**
 * @typedef {object} Shortcut
 * @property {string} keys one of `KeyboardEvent.key`, with "Ctrl+", "Shift+" or "Alt+" before it
 * @property {string} label what it does, for the list
 * @property {(event: KeyboardEvent) => unknown} run
 * @property {boolean} [inFields] also works while text is being typed
 */

/** All groups that are registered: `{title, shortcuts}`. */
export const shortcutGroups = signal([]);

/**
 * Registers shortcuts; the latest group wins.
 * @param {string} title
 * @param {Shortcut[]} shortcuts
 * @returns {() => void} removes them
 */
export function registerShortcuts(title, shortcuts) {
  const group = { title, shortcuts };
  shortcutGroups.value = [group, ...shortcutGroups.peek()];
  return () => (shortcutGroups.value = shortcutGroups.peek().filter((other) => other !== group));
}

/** What a key that is held may do again and again: move, zoom, size, undo. Everything else is done once per press. */
const REPEATABLE = /Arrow|^[[\]+-]$|^Ctrl\+[yz]$/;

const isTyping = (target) => target.closest?.("input:not([type=checkbox], [type=radio], [type=range]), textarea, select, [contenteditable]");

function nameOf(event) {
  const isLetter = event.key.length === 1;
  const parts = [(event.ctrlKey || event.metaKey) && "Ctrl", event.altKey && "Alt", event.shiftKey && !isLetter && "Shift"];
  return [...parts.filter(Boolean), isLetter ? event.key.toLowerCase() : event.key].join("+");
}

/** Enter held on a button would press it again and again. */
const isHeldOnButton = ({ key, repeat, target }) => repeat && key === "Enter" && target.closest?.("button, summary");

document.addEventListener("keydown", (event) => {
  if (isHeldOnButton(event)) return void event.preventDefault();
  if (event.defaultPrevented || event.isComposing) return;
  const name = nameOf(event);
  const isModal = Boolean(document.querySelector("dialog[open]"));
  for (const { shortcuts } of shortcutGroups.peek()) {
    const found = shortcuts.find((one) => one.keys === name && (one.inFields || !isTyping(event.target)));
    if (!found || isModal) continue;
    event.preventDefault();
    if (!event.repeat || REPEATABLE.test(name)) found.run(event);
    return;
  }
});
