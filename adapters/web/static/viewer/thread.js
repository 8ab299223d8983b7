// Questions about the picture, and their answers, which stay with it.

import { get, post } from "../core/api.js";
import { storeJob } from "../core/events.js";
import { lazyPart } from "../core/parts.js";
import { html, live, nothing, repeat, signal, SignalView, storedSignal } from "../core/render.js";
import { sentenceView } from "../core/sentence.js";
import { fieldError } from "../core/states.js";
import { commands, isFinished, jobs, jobSignal, person } from "../core/store.js";
import { t } from "../core/text.js";
import { labelOfCommand } from "../core/titles.js";
import { relatedIds } from "./related.js";

const corrections = lazyPart("correcting", () => import("../correcting/correcting.js"));
const problem = signal("");
const isSending = signal(false);
/** Questions that were typed and not sent, by picture. @type {import("../core/libraries.d.ts").Signal<Record<string, string>>} */
const drafts = storedSignal(`viewer.questions.${person.peek()?.name ?? ""}`, {}, { perTab: true });

/** @param {string} mediaId @param {string} text */
function keepDraft(mediaId, text) {
  const { [mediaId]: _before, ...others } = drafts.peek();
  drafts.value = text ? { ...others, [mediaId]: text } : others;
}

const answersWithText = (job) => !job.result?.media.length && commands.value.find((one) => one.name === job.command)?.answers !== "images";

const entryView = (id) => SignalView(() => {
  const job = jobSignal(id)?.value;
  if (!job) return nothing;
  return html`
    <div class="viewer-entry" data-job=${id} data-state=${job.state}>
      <dt>${job.options.question || labelOfCommand(job.command)}</dt>
      <dd>${isFinished(job) ? (job.result?.text || sentenceView(job.error?.message || t("No answer."))) : html`<span class="spinner" aria-hidden="true"></span> ${job.progress?.text ? html`<span aria-hidden="true">${job.progress.text}…</span>` : t("Looking at the picture…")}`}${job.result ? corrections()?.correctionView(job) : nothing}</dd>
    </div>`;
});

/** The last answer about this picture alone, which a question follows up on, as part of a body. */
function parentOf(mediaId) {
  const isAnswer = (job) => job?.command === "ask" && job.result && job.images.length === 1 && job.images[0].id === mediaId;
  const parent = relatedIds.peek().findLast((id) => isAnswer(jobs.peek().get(id)?.peek()));
  return parent ? { parent } : {};
}

async function send(command, options, mediaId) {
  isSending.value = true;
  problem.value = "";
  try {
    const ticket = await post("/jobs", { command, options, images: [mediaId], ...(command === "ask" && parentOf(mediaId)) });
    storeJob(await get(`/jobs/${ticket.id}`));
    return true;
  } catch (error) {
    problem.value = error.message;
    return false;
  } finally {
    isSending.value = false;
  }
}

async function ask(event, mediaId) {
  event.preventDefault();
  const field = event.target.elements.question;
  const typed = field.value;
  const question = typed.trim();
  if (!question) {
    problem.value = t("Type a question first.");
    return void field.focus();
  }
  if (await send("ask", { question }, mediaId) && drafts.peek()[mediaId] === typed) keepDraft(mediaId, "");
  return undefined;
}

const canDo = (name) => commands.value.some((one) => one.name === name && one.models.length);

const questionField = (mediaId) => html`
  <input id="viewer-question" name="question" maxlength="2000" placeholder=${t("Ask about this picture")} autocomplete="off" enterkeyhint="send"
    .value=${live(drafts.value[mediaId] ?? "")} @input=${(event) => keepDraft(mediaId, event.target.value)}>`;

/** @param {string} mediaId the picture that is asked about */
export function threadView(mediaId) {
  const ids = relatedIds.value.filter((id) => {
    const job = jobs.value.get(id)?.value;
    return job && answersWithText(job);
  });
  if (!ids.length && !canDo("ask") && !canDo("caption")) return nothing;
  return html`
    <section class="viewer-section" aria-labelledby="viewer-thread">
      <h2 id="viewer-thread">${t("Questions")}</h2>
      ${ids.length ? html`<dl class="viewer-thread" aria-live="polite">${repeat(ids, (id) => id, entryView)}</dl>` : nothing}
      ${canDo("ask") ? html`
        <form class="viewer-ask" novalidate @submit=${(event) => void ask(event, mediaId)}>
          <label class="visually-hidden" for="viewer-question">${t("Ask about this picture")}</label>
          ${SignalView(() => questionField(mediaId))}
          <button ?disabled=${isSending.value}>${t("Ask")}</button>
        </form>` : nothing}
      ${canDo("caption") ? html`<button type="button" class="chip viewer-caption" ?disabled=${isSending.value} @click=${() => send("caption", {}, mediaId)}>${labelOfCommand("caption")}</button>` : nothing}
      ${fieldError(problem.value)}
    </section>`;
}

export const clearThread = () => (problem.value = "");
