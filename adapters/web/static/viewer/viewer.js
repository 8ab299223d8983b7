// The route "/p/{job}/{n}": one picture, above the gallery or by its own address.

import { fetchJob, onJobEvent } from "../core/events.js";
import { icon } from "../core/icons.js";
import { lazyPart } from "../core/parts.js";
import { batch, html, nothing, runOnSignals, signal, SignalView } from "../core/render.js";
import { background, navigate, setTitle } from "../core/router.js";
import { registerShortcuts } from "../core/shortcuts.js";
import { errorView, loadingView, stateView } from "../core/states.js";
import { isFinished, jobSignal } from "../core/store.js";
import { t } from "../core/text.js";
import { focusTile } from "../gallery/grid.js";
import { nameOf } from "../core/titles.js";
import { compared } from "./compare.js";
import { close, compare, actionsView, download, edit, erase, favourite, show, vary } from "./picture-actions.js";
import { factsView, wordsView } from "./facts.js";
import { ancestryView, findPicture, followRelated, stopRelated, stripView } from "./related.js";
import { isBlurred, isCounted, isOpenEnded, loadAhead, next, position, previous, problem, revealed, sequence, shown, shownEntry, shownJob, shownKey, shownMedia } from "./shown.js";
import { isZoomed, preload, resetZoom, stageView, zoomIn, zoomOut } from "./stage.js";
import { clearThread, threadView } from "./thread.js";

const comparing = lazyPart("comparing", () => import("../comparing/comparing.js"));
let stops = null;

const step = (entry) => () => {
  if (!isZoomed.peek() || entry()) void show(entry());
};

const shortcuts = () => [
  { keys: "ArrowLeft", label: t("Previous picture"), run: step(() => previous.peek()) },
  { keys: "ArrowRight", label: t("Next picture"), run: step(() => next.peek()) },
  { keys: "Home", label: t("First picture"), run: () => show(sequence.peek()[0]) },
  { keys: "End", label: t("Last picture"), run: () => show(sequence.peek().at(-1)) },
  { keys: "f", label: t("Favourite"), run: favourite },
  { keys: "Delete", label: t("Delete"), run: erase },
  { keys: "c", label: t("Compare"), run: compare },
  { keys: "d", label: t("Download"), run: download },
  { keys: "e", label: t("Edit"), run: edit },
  { keys: "v", label: t("Vary"), run: vary },
  { keys: "+", label: t("Zoom in"), run: zoomIn },
  { keys: "-", label: t("Zoom out"), run: zoomOut },
  { keys: "0", label: t("Fit to view"), run: resetZoom },
  { keys: "Escape", label: t("Back"), run: leaveStep },
];

/** Escape leaves one level at a time: comparison, zoom, viewer. */
function leaveStep() {
  if (compared.peek()) compared.value = null;
  else if (isZoomed.peek()) resetZoom();
  else close();
}

/** @param {import("../core/router.js").Place} place */
export function load({ params }) {
  stops ??= [registerShortcuts(t("Picture"), shortcuts()), runOnSignals(prepare), onJobEvent(handleErasure)];
  batch(() => {
    shown.value = { job: params.job, number: /^[1-9]\d{0,2}$/.test(params.n) ? Number(params.n) : 0 };
    compared.value = null;
    problem.value = null;
  });
  clearThread();
  resetZoom();
  document.querySelector(".viewer-panel")?.scrollTo(0, 0);
  if (!jobSignal(params.job)) void fetch(params);
}

/** The shown job was deleted elsewhere. */
function handleErasure(name, { id }) {
  if (name === "erased" && id === shown.peek().job) problem.value = { code: "not_found" };
}

/** @param {Record<string, string | number>} params of the address */
async function fetch({ job: id, n }) {
  try {
    const job = await fetchJob(encodeURIComponent(id));
    if (shown.peek().job === id && job.id !== id) void navigate(`/p/${job.id}/${n}`, { replace: true });
  } catch (error) {
    if (shown.peek().job === id) problem.value = error;
  }
}

/** Sets the title, and loads related and neighbouring pictures. */
function prepare() {
  const job = shownJob.value;
  if (!job) return;
  setTitle(nameOf(job, shown.value.number));
  const mediaId = shownMedia.value?.id ?? (job.result?.media.length ? undefined : job.images[0]?.id);
  const around = [next.value, previous.value];
  queueMicrotask(() => {
    followRelated(job, mediaId);
    void loadAhead().catch(() => null); // tried again with the next step
    preload(...around.map((entry) => entry && jobSignal(entry.job)?.peek().result?.media[entry.number - 1]?.id));
  });
}

export function leave() {
  const key = shownKey.peek();
  stops?.forEach((stop) => stop());
  stops = null;
  stopRelated();
  compared.value = null;
  if (background.peek()?.route.name === "gallery") setTimeout(() => document.querySelector(".gallery") && focusTile(key));
}

const missing = (title, text) => html`<h1 class="visually-hidden">${title}</h1>${stateView({ title, text, actions: html`<a class="button primary" href="/gallery">${t("Open the gallery")}</a>` })}`;

function problemView(error) {
  if (error.code === "not_found") return missing(t("This picture does not exist"), t("It was deleted, belongs to someone else, or the link is incomplete."));
  return html`<h1 class="visually-hidden">${t("Picture")}</h1>${errorView(error, () => { problem.value = null; void fetch({ job: shown.peek().job, n: shown.peek().number }); })}`;
}

function unfinishedView(job) {
  const { step: done = 0, steps = 0 } = job.progress ?? {};
  return html`
    <div class="viewer-stage viewer-unfinished">
      ${job.preview ? html`<img class="viewer-preview" src=${job.preview} alt=${t("Preview")}>` : nothing}
      <p class="number" role="status"><span class="spinner" aria-hidden="true"></span> ${job.state === "queued" ? t("Waiting in the queue…") : steps ? t("Step {step} of {steps}", { step: done, steps }) : t("Starting…")}</p>
    </div>`;
}

const deletedView = (job) => html`<div class="viewer-stage">${stateView({ icon: "trash", title: t("This picture was deleted"), text: job.result.media.some(Boolean) ? t("Other pictures of this request still exist.") : "" })}</div>`;
const failedView = (job) => html`<div class="viewer-stage">${stateView({ icon: "alert", title: t("This request produced no picture"), text: [job.error?.message, job.error?.incident && t("Incident {code}", { code: job.error.incident })].filter(Boolean).join(" ") })}</div>`;

const swipe = (direction) => {
  if (direction === "left") void show(next.peek());
  else if (direction === "right") void show(previous.peek());
  else close();
};

function pictureStage(media, name) {
  const isCovered = isBlurred(media.id);
  const extra = isCovered ? html`<button type="button" class="viewer-reveal" @click=${() => (revealed.value = new Set([...revealed.peek(), media.id]))}>${t("Show this picture")}</button>` : nothing;
  return stageView({ key: shownKey.value, media, alt: media.alt || name, isBlurred: isCovered, extra, swipe });
}

function stageOf(job) {
  const { number } = shown.value;
  const [media, name] = [shownMedia.value, nameOf(job, number)];
  if (media && compared.value && comparing()) return html`<div class="viewer-stage">${comparing().compareView(job, number, media, name)}</div>`;
  if (media) return pictureStage(media, name);
  if (!isFinished(job)) return unfinishedView(job);
  if (!job.result) return failedView(job);
  if (job.result.media.length) return deletedView(job);
  const photo = job.images[0];
  return photo ? pictureStage(photo, t("Picture the question is about")) : html`<div class="viewer-stage"></div>`;
}

const arrowView = (entry, name, label, side) => html`
  <a class="icon-button button viewer-arrow viewer-${side}" href=${entry ? `/p/${entry.key}` : nothing} aria-label=${label} aria-disabled=${entry ? nothing : "true"} role="link"
    @click=${(event) => { event.preventDefault(); void show(entry); }}>${icon(name)}</a>`;

function placeText() {
  const count = sequence.value.length;
  if (position.value < 0 || !isCounted.value) return "";
  if (isOpenEnded.value) return t("{n} of {count}+", { n: position.value + 1, count });
  return t("{n} of {count}", { n: position.value + 1, count });
}

const barView = () => html`
  <div class="viewer-bar">
    <button type="button" class="icon-button" aria-label=${t("Back")} title=${t("Back")} @click=${close}>${icon("close")}</button>
    <p class="hint number">${placeText()}</p>
    <span class="spacer"></span>
    ${shownMedia.value && !compared.value ? html`
      <button type="button" class="icon-button viewer-zoom-button" aria-label=${t("Zoom out")} ?disabled=${!isZoomed.value} @click=${zoomOut}>${icon("minus")}</button>
      <button type="button" class="icon-button viewer-zoom-button" aria-label=${t("Zoom in")} @click=${zoomIn}>${icon("plus")}</button>` : nothing}
  </div>`;

function sourceText(job) {
  const count = job.images.length;
  if (!count) return "";
  const found = findPicture(job.images[0].id, job.parent);
  return found ? nameOf(found.job, found.number) : t("a photo");
}

function panelView(job) {
  const { number } = shown.value;
  const media = shownMedia.value;
  const subject = media?.id ?? (job.result?.media.length ? null : job.images[0]?.id);
  return html`
    <div class="viewer-panel">
      <h1 class="visually-hidden" tabindex="-1">${nameOf(job, number)}</h1>
      ${wordsView(job)}
      ${actionsView()}
      ${subject ? threadView(subject) : nothing}
      ${ancestryView(job)}
      ${factsView(job, media, sourceText(job))}
    </div>`;
}

function contentView() {
  if (problem.value) return html`<div class="viewer-alone">${barView()}${problemView(problem.value)}</div>`;
  const job = shownJob.value;
  if (!job) return html`<div class="viewer-alone">${barView()}<h1 class="visually-hidden">${t("Picture")}</h1>${loadingView()}</div>`;
  const { number } = shown.value;
  const places = job.result?.media.length || 1;
  if (number < 1 || number > places) return html`<div class="viewer-alone">${barView()}${missing(t("This picture does not exist"), t("This request made fewer pictures."))}</div>`;
  return html`
    <div class="viewer-main">
      ${SignalView(barView)}
      <div class="viewer-frame">
        ${SignalView(() => arrowView(previous.value, "arrow-left", t("Previous picture"), "previous"))}
        ${SignalView(() => (shownJob.value ? stageOf(shownJob.value) : nothing))}
        ${SignalView(() => arrowView(next.value, "arrow-right", t("Next picture"), "next"))}
      </div>
      ${stripView(job, number)}
    </div>
    ${SignalView(() => (shownJob.value ? panelView(shownJob.value) : nothing))}`;
}

export const view = () => html`<div class="viewer">${SignalView(contentView)}</div>`;
