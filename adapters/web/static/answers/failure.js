// A failed or cancelled job in place of its picture.

import { icon } from "../core/icons.js";
import { html, nothing } from "../core/render.js";
import { sentenceView } from "../core/sentence.js";
import { t } from "../core/text.js";
import { shorten, promptOf } from "../core/titles.js";
import { send } from "../create/request.js";

/** Sends the same request again. @param {object} job */
export const tryAgain = (job) => send({
  command: job.command,
  options: job.options,
  ...(job.command === "ask" && job.parent && { parent: job.parent }), // with its thread
  images: job.images.map(({ id, role, kind, weight, start, end, ready }) => ({ id, role, ...(["control", "reference"].includes(role) && { kind, weight }), ...(role === "control" && { start, end, ready }) })),
});

/** A job that has no pictures. @param {object} job @param {() => number} tabIndex */
export function failureView(job, tabIndex) {
  const isCancelled = job.state === "cancelled";
  return html`
    <div class="answers-failure" data-tile tabindex=${tabIndex()}>
      <p class="create-tile-title">${isCancelled ? nothing : icon("alert")}${shorten(promptOf(job), 80)}</p>
      <p class="create-tile-text">${sentenceView(job.error?.message ?? t("This job produced no picture."))}</p>
      ${job.error?.incident && !job.error.message.includes(job.error.incident) ? html`<p class="hint">${t("Incident {code}", { code: job.error.incident })}</p>` : nothing}
      <button type="button" class="chip" @click=${() => tryAgain(job)}>${t("Try again")}</button>
    </div>`;
}
