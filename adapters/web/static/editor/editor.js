// The editor of an opened picture: everything that draws, prices and sends. Loaded beside the picture.

import { html, SignalView } from "../core/render.js";
import { registerShortcuts } from "../core/shortcuts.js";
import { t } from "../core/text.js";
import { maskSize } from "../edit/picture.js";
import { closeDraft, openDraft } from "./draft.js";
import { startMask } from "./mask.js";
import { panelView } from "./panel.js";
import { refusal, sendDraft, startPricing } from "./request.js";
import { resetRegions } from "./regions.js";
import { startResults } from "./results.js";
import { stageView, startPreview } from "./stage.js";
import { stripsView, toolbarView, toolShortcuts } from "./toolbar.js";
import { resetTools } from "./tools.js";
import { shownResult } from "./viewport.js";

/** Starts to edit a picture. @param {{id: string, width: number, height: number}} picture @returns {() => void} ends it, and keeps the draft */
export function startEditing(picture) {
  const size = maskSize(picture);
  resetTools();
  resetRegions();
  shownResult.value = null;
  refusal.value = null;
  openDraft(picture.id, size);
  const stops = [
    startMask(size), startPricing(), startResults(), startPreview(), closeDraft,
    registerShortcuts(t("Edit"), [...toolShortcuts(), { keys: "Ctrl+Enter", label: t("Send"), inFields: true, run: () => void sendDraft() }]),
  ];
  return () => stops.forEach((stop) => stop());
}

export const editorView = () => html`
  <div class="edit">
    <section class="edit-work" aria-label=${t("Picture")}>
      <h1 class="visually-hidden" tabindex="-1">${t("Edit")}</h1>
      ${SignalView(toolbarView)}
      ${SignalView(stageView)}
      ${SignalView(stripsView)}
    </section>
    <section class="edit-side-panel" aria-label=${t("Panel")}>${panelView()}</section>
  </div>`;
