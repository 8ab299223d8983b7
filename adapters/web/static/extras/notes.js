// Notes about models: none supports the mode, or only a demo model does.

import { html, nothing } from "../core/render.js";
import { fieldError } from "../core/states.js";
import { isAdmin, models, storeError } from "../core/store.js";
import { t } from "../core/text.js";
import { model } from "../create/capabilities.js";
import { mode } from "../create/draft.js";

/** Admins can replace the demo model. */
export function demoView() {
  if (!model.value?.demo) return nothing;
  return html`<p class="hint">${t("This is a small demo model.")}</p>${isAdmin.value ? html`<a class="button chip" href="/models">${t("Choose a real model")}</a>` : nothing}`;
}

/** Why the current mode is unavailable. */
export function missingModelView() {
  if (storeError.value) return fieldError(storeError.value.message);
  if (mode.value === "edit" && models.value.length && !model.value) return html`<p class="hint">${t("No installed model edits photos. The owner can add one.")}</p>`;
  if (mode.value === "ask" && models.value.length && !model.value) return html`<p class="hint">${t("No installed model answers questions. The owner can add one.")}</p>`;
  return nothing;
}

/** What the installation of the model that a job waits for is doing. @param {object} job @param {string} left */
export function installText({ install_progress: { title, stage, done, total }, position }, left) {
  const percent = total ? t("{n} %", { n: Math.floor((100 * done) / total) }) : "";
  const activity = { downloading: t("Downloading {title}", { title }), checking: t("Verifying {title}", { title }) }[stage] ?? t("Preparing {title}", { title });
  return [activity, percent, left, position ? t("position {position}", { position }) : ""].filter(Boolean).join(" · ");
}

/** Shown while files are dragged over the page. */
export const dropView = () => html`<p class="extras-drop" aria-hidden="true">${t("Drop photos anywhere")}</p>`;
