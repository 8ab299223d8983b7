// Tiles of the results: a picture, a running job with its preview, a job that failed.

import { remove } from "../core/api.js";
import { storeJob } from "../core/events.js";
import { icon } from "../core/icons.js";
import { lazyPart } from "../core/parts.js";
import { html, nothing, signal, SignalView } from "../core/render.js";
import { isFinished, jobSignal, spoilers } from "../core/store.js";
import { t, tn } from "../core/text.js";
import { pictureLink, thumbnail, tileFrame } from "../core/tile.js";
import { nameOf } from "../core/titles.js";
import { showToast } from "../core/toast.js";
import { findCommand } from "./capabilities.js";
import { startFrom } from "./intent.js";
import { startWithPhoto } from "./photos.js";
import { lastPreview, progressText, shareDone } from "./progress.js";
import { focusPrompt } from "./prompt-field.js";

const FAILED_RATIO = 1.4;
const SIZES = "auto, (max-width: 48rem) 50vw, 18rem";
const failures = lazyPart("answers", () => import("../answers/failure.js"));
/** Ids of blurred pictures that were revealed. */
const revealed = signal(new Set());
/** @param {{id: string} | undefined} media */
export const isBlurred = (media) => Boolean(media) && spoilers.has(media.id) && !revealed.value.has(media.id);

/** Width by height. The picture's own, else what was asked for. */
function ratioOf(job, media) {
  const { width, height } = media?.width ? media : job.options;
  return width && height ? Math.min(2.4, Math.max(0.5, width / height)) : 1;
}

/** @param {object} job */
export async function cancelJob(job) {
  try {
    storeJob(await remove(`/jobs/${job.id}`));
  } catch (error) {
    showToast(error.message, { kind: "error" });
  }
}

const fadeIn = (event) => event.target.classList.add("create-shown");

/** One tile of a job, by the number of its picture. @param {string} id @param {number} number from 1 @param {() => number} tabIndex */
export const tileView = (id, number, tabIndex) => SignalView(() => {
  const job = jobSignal(id)?.value;
  if (!job) return nothing;
  const media = job.result?.media[number - 1];
  const isFailed = isFinished(job) && !media;
  const ratio = isFailed ? FAILED_RATIO : ratioOf(job, media);
  const kind = isFailed ? "create-tile-failed" : isFinished(job) ? "" : "create-tile-running";
  return tileFrame({
    key: `${id}/${number}`,
    kind: `create-tile ${kind}`,
    style: `--ratio: ${ratio}`,
    state: job.state,
    content: media || !isFinished(job) ? pictureView(job, media, number, tabIndex) : failures()?.failureView(job, tabIndex),
  });
});

function pictureView(job, media, number, tabIndex) {
  const preview = number === 1 ? lastPreview(job) : null;
  const name = nameOf(job, number);
  return html`
    ${preview ? html`<img class="create-preview" src=${preview} alt="">` : nothing}
    ${media && !isBlurred(media) ? html`
      ${pictureLink(`${job.id}/${number}`, tabIndex() === 0, thumbnail(media.id, { sizes: SIZES, alt: name, kind: "create-picture", onLoad: fadeIn }))}
      ${actionsView(job, media, number, tabIndex)}` : nothing}
    ${isBlurred(media) ? html`
      ${thumbnail(media.id, { sizes: SIZES, alt: "", kind: "create-picture create-shown tile-blurred" })}
      <button type="button" class="create-reveal" data-tile tabindex=${tabIndex()} @click=${() => (revealed.value = new Set([...revealed.peek(), media.id]))}>${t("Show this picture")}</button>` : nothing}
    ${media && job.options.best ? othersView(job, number, tabIndex) : nothing}
    ${media ? nothing : runningView(job, name)}`;
}

/** Of pictures that were compared only the best is shown: the way to the others. */
function othersView(job, number, tabIndex) {
  const others = job.result.media.flatMap((media, index) => (media && index + 1 > number ? [index + 1] : []));
  const label = tn(others.length, "{n} more picture, which matches the prompt less", "{n} more pictures, which match the prompt less");
  return others.length ? html`<div class="create-others"><a class="button chip number" href="/p/${job.id}/${others[0]}" tabindex=${tabIndex()} aria-label=${label} title=${label}>+${others.length}</a></div>` : nothing;
}

function startFromPicture(media, title) {
  startWithPhoto(media.id, title);
  focusPrompt();
}

const actionsView = (job, media, number, tabIndex) => html`
  <div class="create-actions">
    <button type="button" class="icon-button" tabindex=${tabIndex()} aria-label=${t("Use this picture")} title=${t("Use this picture")} @click=${() => startFromPicture(media, nameOf(job, number))}>${icon("photo")}</button>
    <button type="button" class="icon-button" tabindex=${tabIndex()} aria-label=${t("Reuse settings")} title=${t("Reuse settings")} @click=${() => startFrom({ job: job.id, picture: number, how: "all_but_seed" })}>${icon("reuse")}</button>
  </div>`;

function runningView(job, title) {
  const share = shareDone(job);
  return html`
    <div class="create-progress" title=${title}>
      <p class="create-tile-text number">${SignalView(() => progressText(jobSignal(job.id)?.value ?? job))}</p>
      <progress aria-label=${t("Progress of {title}", { title })} max="1" value=${share ?? nothing}></progress>
    </div>
    <button type="button" class="icon-button create-cancel" aria-label=${t("Cancel: {title}", { title })} title=${t("Cancel")} ?disabled=${Boolean(job.cancel_requested)} @click=${() => cancelJob(job)}>${icon("close")}</button>`;
}

/** Whether a command makes pictures. @param {object} job */
export const makesPictures = (job) => findCommand(job.command)?.answers === "images";
