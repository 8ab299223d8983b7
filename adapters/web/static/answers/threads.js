// Answers and captions: a photo with the questions about it.

import { mediaUrl } from "../core/api.js";
import { html, nothing, repeat, SignalView } from "../core/render.js";
import { sentenceView } from "../core/sentence.js";
import { isFinished, jobSignal } from "../core/store.js";
import { t } from "../core/text.js";
import { labelOfCommand } from "../core/titles.js";
import { findCommand } from "../create/capabilities.js";
import { mode } from "../create/draft.js";
import { startWithPhoto } from "../create/photos.js";
import { progressText } from "../create/progress.js";
import { focusPrompt, setPrompt } from "../create/prompt-field.js";
import { cancelJob, isBlurred } from "../create/tiles.js";
import { tryAgain } from "./failure.js";

function askFollowUp(mediaId) {
  mode.value = "ask";
  startWithPhoto(mediaId);
  focusPrompt();
}

function useLine(line) {
  mode.value = "imagine";
  setPrompt(line);
  focusPrompt();
}

const linesView = (text) => html`
  <ul class="answers-lines">${text.split("\n").filter(Boolean).map((line) => html`<li><button type="button" class="chip" @click=${() => useLine(line)}>${line}</button></li>`)}</ul>`;

function answerView(job) {
  if (!isFinished(job)) {
    return html`<p class="hint number" role="status"><span class="spinner" aria-hidden="true"></span> ${progressText(job)}</p>
      <button type="button" class="chip" @click=${() => cancelJob(job)}>${t("Cancel")}</button>`;
  }
  if (job.result && findCommand(job.command)?.answers === "lines") return linesView(job.result.text ?? "");
  if (job.result) return html`<p class="answers-text">${job.result.text || t("No answer.")}</p>`;
  return html`<p class="error">${sentenceView(job.error?.message ?? "")}</p><button type="button" class="chip" @click=${() => tryAgain(job)}>${t("Try again")}</button>`;
}

const entryView = (id) => SignalView(() => {
  const job = jobSignal(id)?.value;
  if (!job) return nothing;
  return html`<div data-job=${job.id} data-command=${job.command} data-state=${job.state}>
    <p class="answers-question">${job.options.question || labelOfCommand(job.command)}</p>
    ${answerView(job)}
  </div>`;
});

/** Questions and answers about one picture, oldest first. @param {{mediaId: string, ids: string[]}} thread */
export const threadView = ({ mediaId, ids }) => html`
  <article class="card answers-thread" aria-label=${t("Questions about a picture")}>
    ${SignalView(() => html`<img class=${isBlurred({ id: mediaId }) ? "tile-blurred" : ""} src=${mediaUrl(mediaId, 512)} alt=${t("The picture")} loading="lazy" decoding="async">`)}
    <div class="answers-entries">
      ${repeat(ids, (id) => id, entryView)}
      <button type="button" class="chip" @click=${() => askFollowUp(mediaId)}>${t("Ask about it")}</button>
    </div>
  </article>`;
