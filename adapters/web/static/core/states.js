// Loading, empty and error states, each with a next step.

import { html, nothing } from "./render.js";
import { icon } from "./icons.js";
import { sentenceView } from "./sentence.js";
import { t } from "./text.js";

/**
 * @param {{icon?: import("./icons.js").IconName, title: string, text?: string, actions?: unknown}} options `actions`: buttons or links
 */
export const stateView = ({ icon: name = "image", title, text = "", actions = nothing }) => html`
  <div class="state">
    ${icon(name)}
    <h2>${title}</h2>
    ${text ? html`<p>${sentenceView(text)}</p>` : nothing}
    <div class="row">${actions}</div>
  </div>`;

/** @param {Error & {incident?: string, option?: string}} error its message is a sentence @param {() => unknown} [retry] not offered if an option was refused: it would be again */
export const errorView = (error, retry = null) => html`
  <div class="state state-error" role="alert">
    ${icon("alert")}
    <h2>${t("Something went wrong")}</h2>
    <p>${sentenceView(error.message)}</p>
    ${error.incident ? html`<p class="hint">${t("Incident {code}", { code: error.incident })}</p>` : nothing}
    ${retry && !error.option ? html`<button type="button" @click=${retry}>${t("Try again")}</button>` : nothing}
  </div>`;

/** @param {string} [label] */
export const loadingView = (label = t("Loading…")) => html`<p class="state state-loading" role="status"><span class="spinner" aria-hidden="true"></span>${label}</p>`;

/** A sentence beside a field or a form. @param {string} text */
export const fieldError = (text) => (text ? html`<p class="error" role="alert">${icon("alert")}<span>${sentenceView(text)}</span></p>` : nothing);
