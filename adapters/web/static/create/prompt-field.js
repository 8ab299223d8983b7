// The prompt: grows with its text, sends on Enter, finds earlier prompts by the arrow keys, completes names.

import { html, ifDefined, live, signal } from "../core/render.js";
import { loadStyle } from "../core/router.js";
import { t } from "../core/text.js";
import { mainOption } from "./capabilities.js";
import { mode, prompt, sentPrompts } from "./draft.js";
import { photoNote } from "./photos.js";
import { refusal, sendDraft, setRefusal } from "./request.js";

const TRIGGER = /(?:<(?:lora|lyco):[^<>:\n]*|__[\w/-]*|--style\s+[\w-]*)$/i;
const MAX_ROWS = 10;

/** What completes names at present, or null: `{view, onKey, id, activeId}`. It is loaded when first needed. */
export const completion = signal(null);
let historyIndex = -1;
let beforeHistory = "";

/** @returns {HTMLTextAreaElement} */
const field = () => document.querySelector("#prompt");

/** Moves the focus into the prompt, its end. */
export function focusPrompt() {
  const element = field();
  element?.focus({ preventScroll: true });
  element?.setSelectionRange(element.value.length, element.value.length);
}

const placeholders = {
  imagine: () => t("What would you like to see?"),
  edit: () => t("What should change in the photo?"),
  ask: () => t("What would you like to know about the photo?"),
};
const labels = { imagine: () => t("Prompt"), edit: () => t("What to change"), ask: () => t("Question") };

/** Sets the text, as if it had been typed. @param {string} text @param {number} [caret] */
export function setPrompt(text, caret = text.length) {
  prompt.value = text;
  queueMicrotask(() => {
    const element = field();
    if (document.activeElement === element) element.setSelectionRange(caret, caret);
  });
}

function handleInput(event) {
  prompt.value = event.target.value;
  historyIndex = -1;
  if (refusal.peek()) setRefusal(null);
  photoNote.value = "";
  void complete(event.target);
}

async function complete(element) {
  const before = element.value.slice(0, element.selectionStart);
  if (!TRIGGER.test(before)) return void (completion.value = null);
  const [{ completeNames }] = await Promise.all([import("../completion/completion.js"), loadStyle("completion")]);
  await completeNames(element);
}

function handleKey(event) {
  if (event.isComposing || completion.peek()?.onKey(event)) return;
  if (event.key === "Enter" && !event.shiftKey) {
    event.preventDefault();
    if (!event.repeat) void sendDraft();
  } else if (["ArrowUp", "ArrowDown"].includes(event.key) && !(event.shiftKey || event.altKey || event.ctrlKey || event.metaKey)) {
    if (recall(event.key === "ArrowUp" ? 1 : -1)) event.preventDefault();
  }
}

/** Shows an earlier prompt, as long as nothing else was typed. */
function recall(step) {
  const isFree = historyIndex >= 0 ? prompt.peek() === sentPrompts.peek()[historyIndex] : step > 0 && [sentPrompts.peek()[0], ""].includes(prompt.peek());
  if (!isFree) return false;
  if (historyIndex < 0) beforeHistory = prompt.peek();
  let next = historyIndex + step;
  if (historyIndex < 0 && prompt.peek() && prompt.peek() === sentPrompts.peek()[0]) next = 1;
  if (next >= sentPrompts.peek().length) return historyIndex >= 0;
  historyIndex = Math.max(-1, next);
  setPrompt(historyIndex < 0 ? beforeHistory : sentPrompts.peek()[historyIndex]);
  return true;
}

const rowsOf = (text) => Math.min(MAX_ROWS, Math.max(1, text.split("\n").length, Math.ceil(text.length / 90)));
const canSize = CSS.supports("field-sizing", "content");

export function promptField() {
  const shown = completion.value;
  const isWrong = refusal.value && refusal.value.option === mainOption.value?.name;
  return html`
    <label class="visually-hidden" for="prompt">${labels[mode.value]()}</label>
    <textarea id="prompt" class="create-prompt" rows=${canSize ? 1 : rowsOf(prompt.value)} .value=${live(prompt.value)}
      placeholder=${placeholders[mode.value]()} autocomplete="off" enterkeyhint="send" spellcheck="true"
      aria-describedby="create-facts" aria-invalid=${isWrong ? "true" : "false"} aria-autocomplete="list" aria-haspopup="listbox"
      aria-controls=${ifDefined(shown?.id)} aria-activedescendant=${ifDefined(shown?.activeId)}
      @input=${handleInput} @keydown=${handleKey} @blur=${() => setTimeout(() => (completion.value = null), 150)}></textarea>
    ${shown ? shown.view() : ""}`;
}
