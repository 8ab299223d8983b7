// The route "/edit/{media}": repaints a part of a picture, or extends it.

import { html, runOnSignals, SignalView, untracked } from "../core/render.js";
import { connection } from "../core/connection.js";
import { registerShortcuts } from "../core/shortcuts.js";
import { errorView, loadingView, stateView } from "../core/states.js";
import { storeError } from "../core/store.js";
import { t } from "../core/text.js";
import { isKnown } from "./ability.js";
import { closeDraft, openDraft } from "./draft.js";
import { isReceiving, listenForPictures } from "./drop.js";
import { startMask } from "./mask.js";
import { closePicture, maskSize, openPicture, picture, pictureProblem } from "./picture.js";
import { panelView } from "./panel.js";
import { refusal, sendDraft, startPricing } from "./request.js";
import { resetRegions } from "./regions.js";
import { startResults } from "./results.js";
import { stageView, startPreview } from "./stage.js";
import { toolbarView, stripsView, toolShortcuts } from "./toolbar.js";
import { resetTools } from "./tools.js";
import { shownResult } from "./viewport.js";

let opened = null;
let stops = [];
let stopRoute = null;

/** @param {import("../core/router.js").Place} place */
export async function load({ params }) {
  stopRoute ??= startRoute();
  if (opened !== params.media) await open(params.media);
}

function startRoute() {
  const stopShortcuts = registerShortcuts(t("Edit"), [
    ...toolShortcuts(), { keys: "Ctrl+Enter", label: t("Start it"), inFields: true, run: () => void sendDraft() },
  ]);
  const stopRetrying = runOnSignals(() => {
    const problem = pictureProblem.value;
    if (connection.value === "online" && problem?.error.code === "offline") untracked(() => void open(opened));
  });
  const stopListening = listenForPictures();
  return () => {
    stopListening();
    stopShortcuts();
    stopRetrying();
  };
}

async function open(id) {
  close();
  opened = id;
  const found = await openPicture(id);
  if (!found || opened !== id) return;
  const size = maskSize(found);
  openDraft(id, size);
  stops = [startMask(size), startPricing(), startResults(), startPreview()];
}

function close() {
  closeDraft();
  stops.forEach((stop) => stop());
  stops = [];
  resetTools();
  resetRegions();
  shownResult.value = null;
  refusal.value = null;
}

export function leave() {
  close();
  closePicture();
  stopRoute?.();
  stopRoute = null;
  opened = null;
}

function problemView({ isMissing, error }) {
  if (!isMissing) return errorView(error, () => void open(opened));
  const links = html`<a class="button primary" href="/gallery">${t("Choose one from the gallery")}</a><a class="button" href="/">${t("Create a picture")}</a>`;
  return stateView({ icon: "image", title: t("This picture is not here"), text: t("It was deleted, or it belongs to somebody else, or the link is incomplete."), actions: links });
}

/** In the layout of the editor, so that nothing moves when it is there. */
const openingView = () => html`
  <div class="edit">
    <section class="edit-work" aria-label=${t("Picture")}>
      <h1 class="visually-hidden" tabindex="-1">${t("Edit")}</h1>
      <div class="edit-toolbar"></div>
      <div class="edit-stage">${loadingView(t("Opening the picture…"))}</div>
    </section>
    <section class="edit-side-panel" aria-label=${t("Panel")}></section>
  </div>`;

function contentView() {
  if (pictureProblem.value) return html`<div class="page"><h1 tabindex="-1">${t("Edit")}</h1>${problemView(pictureProblem.value)}</div>`;
  if (!picture.value || isReceiving.value || !(isKnown.value || storeError.value)) return openingView();
  return html`
    <div class="edit">
      <section class="edit-work" aria-label=${t("Picture")}>
        <h1 class="visually-hidden" tabindex="-1">${t("Edit")}</h1>
        ${SignalView(toolbarView)}
        ${SignalView(stageView)}
        ${SignalView(stripsView)}
      </section>
      <section class="edit-side-panel" aria-label=${t("Panel")}>${panelView()}</section>
    </div>`;
}

export const view = () => SignalView(contentView);
