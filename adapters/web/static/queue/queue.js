// The person's running and queued jobs, in queue order.

import { mediaUrl } from "../core/api.js";
import { connection } from "../core/connection.js";
import { onJobEvent } from "../core/events.js";
import { restoreFocus } from "../core/focus.js";
import { icon } from "../core/icons.js";
import { html, nothing, repeat, signal, SignalView } from "../core/render.js";
import { sentenceView } from "../core/sentence.js";
import { loadingView, stateView } from "../core/states.js";
import { hasJobs, isAdmin, jobSignal, spoilers } from "../core/store.js";
import { formatSeconds, t, tn } from "../core/text.js";
import { labelOfCommand, nameOf, shorten, promptOf } from "../core/titles.js";
import { cancelJobs, shownJobs } from "./cancelling.js";
import { loadPanels, panelsView } from "./panels.js";
import { leftText, secondsLeft, shareDone, startClock, stateText } from "./waiting.js";

const MAX_FINISHED = 6;
/** Ids of jobs that ended while the queue was open, the latest first. */
const finished = signal([]);
let stops = [];

export function load() {
  leave();
  finished.value = [];
  stops = [startClock(), onJobEvent(take)];
  void loadPanels();
}

export function leave() {
  for (const stop of stops) stop();
  stops = [];
}

function take(name, job) {
  if (name === "erased") finished.value = finished.peek().filter((id) => id !== job.id);
  if (name === "finished" && job.state !== "cancelled") finished.value = [job.id, ...finished.peek().filter((id) => id !== job.id)].slice(0, MAX_FINISHED);
}

export function view() {
  const jobs = shownJobs();
  return html`
    <div class="page queue">
      <div class="page-head top-bar">
        <h1>${t("Queue")}</h1>
        <p class="hint" role="status">${SignalView(summaryView)}</p>
        <span class="spacer"></span>
        ${isAdmin.value ? html`<a class="button subtle" href="/admin?tab=queue">${icon("admin")}${t("Everyone's queue")}</a>` : nothing}
        ${jobs.length > 1 ? html`<button type="button" @click=${() => cancelJobs(shownJobs())}>${t("Cancel all")}</button>` : nothing}
      </div>
      ${jobs.length ? listView(jobs) : emptyView()}
      ${SignalView(finishedView)}
      ${SignalView(panelsView)}
    </div>`;
}

function summaryView() {
  const jobs = shownJobs();
  const running = jobs.filter((job) => job.state === "running").length;
  const parts = [running && tn(running, "{n} running", "{n} running"), jobs.length > running && tn(jobs.length - running, "{n} queued", "{n} queued")];
  return parts.filter(Boolean).join(" · ");
}

const listView = (jobs) => html`
  <ul class="queue-list" @keydown=${moveInList}>
    ${repeat(jobs, (job) => job.id, (job) => SignalView(() => rowView(jobSignal(job.id)?.value)))}
  </ul>
  <p class="hint queue-end">${SignalView(endView)}</p>`;

function endView() {
  const last = Math.max(...shownJobs().map((job) => secondsLeft(job) ?? -1));
  return last > 0 ? t("All done in {left}.", { left: formatSeconds(last) }) : "";
}

function rowView(job) {
  if (!job) return nothing;
  const title = promptOf(job);
  return html`
    <li class="card queue-row" data-job=${job.id} data-state=${job.state} aria-label=${nameOf(job, 1)}>
      <span class="thumb queue-picture">${pictureView(job)}</span>
      <div class="queue-text">
        <h2 title=${title}>${shorten(title, 140)}</h2>
        <p class="hint">${[labelOfCommand(job.command), job.options.model, countText(job)].filter(Boolean).join(" · ")}${gridView(job)}</p>
        <p class="queue-state">
          <span>${stateText(job)}</span>
          <span class="number">${SignalView(() => leftText(job))}</span>
        </p>
        ${job.state === "running" || job.install_progress ? barView(job) : nothing}
      </div>
      <button type="button" class="queue-cancel" ?disabled=${job.cancel_requested} aria-label=${t("Cancel {title}", { title: nameOf(job, 1) })} @click=${(event) => cancelRow(event, job)}>${t("Cancel")}</button>
    </li>`;
}

const gridView = ({ batch, facts }) => (facts?.cell ? html` · <a href=${`/grid/${batch}`}>${t("Grid")} ${facts.cell}</a>` : nothing);
const countText = ({ options }) => (options.count > 1 ? tn(options.count, "{n} picture", "{n} pictures") : "");

function pictureView(job) {
  if (job.preview) return html`<img src=${job.preview} alt="" width="96" height="96">`;
  const [input] = job.images ?? [];
  return input && !spoilers.has(input.id) ? html`<img class="queue-input" src=${mediaUrl(input.id, 256)} alt="" width="96" height="96">` : icon(job.state === "running" ? "create" : "queue");
}

function barView(job) {
  const share = shareDone(job);
  const label = t("Progress of {title}", { title: nameOf(job, 1) });
  return share === null ? html`<progress aria-label=${label}></progress>` : html`<progress max="1" .value=${share} aria-label=${label}></progress>`;
}

/** Focus moves to the next job's button, so several jobs can be cancelled in a row. */
function cancelRow(event, job) {
  const buttons = [...document.querySelectorAll(".queue-cancel:not(:disabled)")];
  const next = buttons[buttons.indexOf(event.currentTarget) + 1] ?? buttons[buttons.indexOf(event.currentTarget) - 1];
  cancelJobs([job]);
  if (next) next.focus();
  else void restoreFocus();
}

/** Arrow keys move through the jobs, Delete cancels the focused one. */
function moveInList(event) {
  const buttons = [...event.currentTarget.querySelectorAll(".queue-cancel:not(:disabled)")];
  const at = buttons.indexOf(document.activeElement);
  const target = { ArrowDown: buttons[at + 1], ArrowUp: buttons[at - 1], Home: buttons[0], End: buttons.at(-1) }[event.key];
  if (event.key === "Delete" && at >= 0) buttons[at].click();
  else if (target) target.focus();
  else return;
  event.preventDefault();
}

function emptyView() {
  if (!hasJobs.value) return connection.value === "online" ? loadingView() : stateView({ icon: "alert", title: t("The queue has not loaded yet"), text: t("It loads when the server is back. Queued jobs stay queued.") });
  return stateView({
    icon: "queue",
    title: t("Your queue is empty"),
    text: t("Jobs appear here while they wait and run, whether from this page, a chat or the command line."),
    actions: html`<a class="button primary" href="/">${t("Create a picture")}</a><a class="button" href="/gallery">${t("Open the gallery")}</a>`,
  });
}

function finishedView() {
  const jobs = finished.value.map((id) => jobSignal(id)?.value).filter(Boolean);
  if (!jobs.length) return nothing;
  return html`
    <section class="queue-finished" aria-labelledby="queue-finished">
      <h2 id="queue-finished">${t("Just finished")}</h2>
      <ul>${repeat(jobs, (job) => job.id, finishedRow)}</ul>
    </section>`;
}

function finishedRow(job) {
  const number = job.result?.media.findIndex(Boolean) ?? -1;
  const media = job.result?.media[number];
  const picture = media && !media.spoiler ? html`<img src=${mediaUrl(media.id, 256)} alt="" width="48" height="48">` : icon(job.error ? "alert" : "check");
  const title = shorten(promptOf(job), 90);
  return html`
    <li class="queue-done">
      <span class="thumb queue-thumbnail">${picture}</span>
      ${media ? html`<a href=${`/p/${job.id}/${number + 1}`}>${title}</a>` : html`<span>${title}</span>`}
      ${job.error ? html`<span class="queue-error">${sentenceView(job.error.message)}</span>` : nothing}
      ${job.result?.text ? html`<span class="hint">${shorten(job.result.text, 160)}</span>` : nothing}
    </li>`;
}
