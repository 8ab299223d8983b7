// Answers and captions: a photo with the questions about it.

import { mediaUrl } from "../core/api.js";
import { lazyPart } from "../core/parts.js";
import { html, nothing, repeat, SignalView } from "../core/render.js";
import { sentenceView } from "../core/sentence.js";
import { isFinished, jobSignal } from "../core/store.js";
import { t, tn } from "../core/text.js";
import { labelOfCommand } from "../core/titles.js";
import { findCommand } from "../create/capabilities.js";
import { followed, mode } from "../create/draft.js";
import { addPhoto, dropInit } from "../create/photos.js";
import { progressText } from "../create/progress.js";
import { focusPrompt, setPrompt } from "../create/prompt-field.js";
import { cancelJob, isBlurred } from "../create/tiles.js";
import { tryAgain } from "./failure.js";

const corrections = lazyPart("correcting", () => import("../correcting/correcting.js"));

/** The next question continues the conversation, where the model reads it. */
function askFollowUp({ mediaIds, ids }) {
  mode.value = "ask";
  dropInit();
  mediaIds.forEach((id) => addPhoto(id));
  followed.value = ids.findLast((id) => jobSignal(id)?.peek().command === "ask") ?? "";
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
    const soFar = job.progress?.text;
    return html`${soFar ? html`<p class="answers-text" aria-hidden="true">${soFar}…</p>` : nothing}
      <p class="hint number" role="status"><span class="spinner" aria-hidden="true"></span> ${progressText(job)}</p>
      <button type="button" class="chip" @click=${() => cancelJob(job)}>${t("Cancel")}</button>`;
  }
  if (job.result && findCommand(job.command)?.answers === "lines") return linesView(job.result.text ?? "");
  if (job.result) return html`<p class="answers-text">${job.result.text || t("No answer.")}</p>${corrections()?.correctionView(job)}`;
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

const photoView = (id, index) => SignalView(() => html`
  <img class=${isBlurred({ id }) ? "tile-blurred" : ""} src=${mediaUrl(id, 512)} alt=${index ? t("Picture {n}", { n: index + 1 }) : t("The picture")} loading="lazy" decoding="async">`);

/** Questions and answers about the same pictures, oldest first. @param {{mediaIds: string[], ids: string[]}} thread */
export const threadView = (thread) => html`
  <article class="card answers-thread" aria-label=${tn(thread.mediaIds.length, "Questions about a picture", "Questions about {n} pictures")}>
    <div class="answers-photos">${thread.mediaIds.map(photoView)}</div>
    <div class="answers-entries">
      ${repeat(thread.ids, (id) => id, entryView)}
      <button type="button" class="chip" @click=${() => askFollowUp(thread)}>${t("Ask about it")}</button>
    </div>
  </article>`;
