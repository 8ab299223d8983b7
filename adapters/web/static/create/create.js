// The route "/": the composer, and the newest results below it.

import { lazyPart } from "../core/parts.js";
import { html, runOnSignals, SignalView } from "../core/render.js";
import { updateQuery } from "../core/router.js";
import { registerShortcuts } from "../core/shortcuts.js";
import { t } from "../core/text.js";
import { composerView } from "./composer.js";
import { mode } from "./draft.js";
import { startClock } from "./progress.js";
import { focusPrompt } from "./prompt-field.js";
import { startPricing } from "./quote.js";
import { clearStaleRefusal, sendDraft } from "./request.js";
import { resultsView, startResults } from "./results.js";

const notices = lazyPart("extras", () => import("../extras/notices.js"));
const notes = lazyPart("extras", () => import("../extras/notes.js"));
let stops = null;
const hasKeyboard = () => !matchMedia("(pointer: coarse)").matches;

/** What is not needed for the first picture. */
async function startLater(started) {
  const [drops, notices] = await Promise.all([import("../extras/drops.js"), import("../extras/notices.js")]).catch(() => []);
  if (drops && stops === started) stops.push(drops.listenForPhotos(), notices.startNotices());
}

/** @param {import("../core/router.js").Place} place */
export async function load({ query }) {
  const isFirst = !stops;
  stops ??= [
    startPricing(), startClock(), startResults(), runOnSignals(clearStaleRefusal),
    registerShortcuts(t("Create"), [
      { keys: "/", label: t("Focus the prompt"), run: focusPrompt },
      { keys: "Ctrl+Enter", label: t("Send"), inFields: true, run: () => void sendDraft() },
      { keys: "Alt+i", label: t("Imagine"), inFields: true, run: () => (mode.value = "imagine") },
      { keys: "Alt+e", label: t("Edit"), inFields: true, run: () => (mode.value = "edit") },
      { keys: "Alt+a", label: t("Ask"), inFields: true, run: () => (mode.value = "ask") },
    ]),
  ];
  if (isFirst) void startLater(stops);
  const names = ["reuse", "image", "how", "picture", "mode"];
  if (names.some((name) => query.has(name))) {
    const { applyIntent } = await import("../extras/recipe.js");
    await applyIntent(query);
    await updateQuery(Object.fromEntries(names.map((name) => [name, null])));
    focusPrompt();
  } else if (isFirst && hasKeyboard()) requestAnimationFrame(() => document.activeElement === document.body && focusPrompt());
}

export function leave() {
  stops?.forEach((stop) => stop?.());
  stops = null;
}

export const focus = () => (hasKeyboard() ? focusPrompt() : document.querySelector(".create h1")?.focus());

export const view = () => html`
  <div class="create">
    <h1 class="visually-hidden" tabindex="-1">${t("Create")}</h1>
    ${composerView()}
    ${resultsView(html`<div class="row create-foot">${SignalView(() => notices()?.noticeSwitch())}<span class="spacer"></span>${SignalView(() => notes()?.demoView())}</div>`)}
  </div>`;
