// The route "/": the composer, and the newest results below it.

import { html, runOnSignals, SignalView } from "../core/render.js";
import { updateQuery } from "../core/router.js";
import { registerShortcuts } from "../core/shortcuts.js";
import { t } from "../core/text.js";
import { composerView, demoView } from "./composer.js";
import { mode } from "./draft.js";
import { takeIntent } from "./intent.js";
import { noticeSwitch, startNotices } from "./notices.js";
import { listenForPhotos } from "./photos.js";
import { startClock } from "./progress.js";
import { focusPrompt } from "./prompt-field.js";
import { startPricing } from "./quote.js";
import { clearStaleRefusal, sendDraft } from "./request.js";
import { resultsView, startResults } from "./results.js";

let stops = null;
const hasKeyboard = () => !matchMedia("(pointer: coarse)").matches;

/** @param {import("../core/router.js").Place} place */
export async function load({ query }) {
  const isFirst = !stops;
  stops ??= [
    listenForPhotos(), startPricing(), startClock(), startNotices(), startResults(), runOnSignals(clearStaleRefusal),
    registerShortcuts(t("Create"), [
      { keys: "/", label: t("Go to the prompt"), run: focusPrompt },
      { keys: "Ctrl+Enter", label: t("Send"), inFields: true, run: () => void sendDraft() },
      { keys: "Alt+i", label: t("Imagine"), inFields: true, run: () => (mode.value = "imagine") },
      { keys: "Alt+e", label: t("Edit"), inFields: true, run: () => (mode.value = "edit") },
      { keys: "Alt+a", label: t("Ask"), inFields: true, run: () => (mode.value = "ask") },
    ]),
  ];
  const names = ["reuse", "image", "how", "picture", "mode"];
  if (names.some((name) => query.has(name))) {
    await takeIntent(query);
    await updateQuery(Object.fromEntries(names.map((name) => [name, null])));
    focusPrompt();
  } else if (isFirst && hasKeyboard()) requestAnimationFrame(() => document.activeElement === document.body && focusPrompt());
}

export function leave() {
  stops?.forEach((stop) => stop());
  stops = null;
}

export const focus = () => (hasKeyboard() ? focusPrompt() : document.querySelector(".create h1")?.focus());

export const view = () => html`
  <div class="create">
    <h1 class="visually-hidden" tabindex="-1">${t("Create")}</h1>
    ${composerView()}
    ${resultsView(html`<div class="create-foot">${SignalView(noticeSwitch)}<span class="spacer"></span>${SignalView(demoView)}</div>`)}
  </div>`;
