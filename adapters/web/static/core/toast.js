// Short messages at the edge of the page, with an action such as Undo. A deletion is carried out when its message closes.

import { html, repeat, signal } from "./render.js";
import { icon } from "./icons.js";
import { plainSentence, sentenceView } from "./sentence.js";
import { t } from "./text.js";

const PLAIN_MS = 5000;
const UNDO_MS = 10_000;
const MAX_SHOWN = 3;

/** All messages, oldest first; the newest are shown. Those that can be undone keep their time, shown or not. */
export const toasts = signal([]);
/** What was last announced to screen readers. */
export const announcement = signal("");

let counter = 0;

/** Reads a sentence to screen readers; a repeated one is read again. @param {string} text */
export function announce(text) {
  const plain = plainSentence(text);
  announcement.value = announcement.peek() === plain ? `${plain}\u00a0` : plain;
}

/**
 * Shows a message.
 * @param {string} message
 * @param {{kind?: "info" | "error", action?: {label: string, run: () => void}, timeoutMs?: number, onEnd?: (reason: string, options: {keepalive: boolean}) => void}} [options]
 *   `onEnd` is called once: "action", "closed", "timeout" or "leaving" (the page is being closed)
 * @returns {{close: () => void}}
 */
export function showToast(message, { kind = "info", action = null, timeoutMs = action ? UNDO_MS : PLAIN_MS, onEnd = () => {} } = {}) {
  const toast = { id: ++counter, message, kind, action, onEnd, timer: null, timeoutMs };
  toasts.value = [...toasts.peek(), toast];
  const plain = toasts.peek().filter((other) => !other.action);
  if (plain.length > MAX_SHOWN) end(plain[0], "timeout");
  startTimer(toast);
  announce(action ? `${message} ${action.label}: Z` : message);
  return { close: () => end(toast, "closed") };
}

/**
 * Something that can be undone for 10 seconds. `commit` is called once unless it was undone: after the time, when its
 * message is closed, or, with `{keepalive: true}`, when the page is closed.
 * @param {string} message
 * @param {{undo: () => void, commit: (options: {keepalive: boolean}) => unknown}} work
 */
export function showUndo(message, { undo, commit }) {
  return showToast(message, {
    action: { label: t("Undo"), run: undo },
    onEnd: (reason, options) => reason !== "action" && commit(options),
  });
}

/** Runs the action of the newest message that has one; whether there was one. */
export function undoLast() {
  const last = toasts.peek().findLast((toast) => toast.action);
  if (last) end(last, "action");
  return Boolean(last);
}

function end(toast, reason, options = { keepalive: false }) {
  if (!toasts.peek().includes(toast)) return undefined;
  clearTimeout(toast.timer);
  toasts.value = toasts.peek().filter((other) => other !== toast);
  if (reason === "action") toast.action.run();
  return toast.onEnd(reason, options);
}

/** Commits everything that could still be undone. Resolves when the server has responded. */
export const finishAll = () => Promise.allSettled(toasts.peek().map((toast) => end(toast, "closed")));

function startTimer(toast) {
  clearTimeout(toast.timer);
  toast.timer = setTimeout(() => end(toast, "timeout"), toast.timeoutMs);
}

const holdAll = () => toasts.peek().forEach((toast) => clearTimeout(toast.timer));
const releaseAll = () => toasts.peek().forEach(startTimer);

window.addEventListener("pagehide", () => toasts.peek().forEach((toast) => end(toast, "leaving", { keepalive: true })));

/** Rendered once, by the shell. */
export const toastsView = () => html`
  <div class="toasts" role="region" aria-label=${t("Messages")} @mouseenter=${holdAll} @mouseleave=${releaseAll} @focusin=${holdAll} @focusout=${releaseAll}>
    ${repeat(toasts.value.slice(-MAX_SHOWN), (toast) => toast.id, (toast) => html`
      <div class="toast toast-${toast.kind}">
        ${toast.kind === "error" ? icon("alert") : ""}
        <p>${sentenceView(toast.message)}</p>
        ${toast.action ? html`<button type="button" class="toast-action" @click=${() => end(toast, "action")}>${toast.action.label}</button>` : ""}
        <button type="button" class="icon-button" aria-label=${t("Close this message")} @click=${() => end(toast, "closed")}>${icon("close")}</button>
      </div>`)}
  </div>`;
