// What a cell of a grid shows: its picture, how far it is, or why there is none.

import { icon } from "../core/icons.js";
import { html, nothing, SignalView } from "../core/render.js";
import { sentenceView } from "../core/sentence.js";
import { isFinished, jobSignal, spoilers } from "../core/store.js";
import { t } from "../core/text.js";
import { thumbnail } from "../core/tile.js";

/** The first picture of a job, and its number. @param {object} job */
export function firstPicture(job) {
  const index = job.result?.media.findIndex(Boolean) ?? -1;
  return index < 0 ? null : { media: job.result.media[index], number: index + 1 };
}

function stateText(job) {
  if (job.cancel_requested) return t("Cancelling…");
  if (job.state === "queued") return t("Queued");
  const { step = 0, steps = 0 } = job.progress ?? {};
  return steps ? t("Step {step} of {steps}", { step, steps }) : t("Starting…");
}

function unfinishedView(job, name) {
  const { step = 0, steps = 0 } = job.progress ?? {};
  return html`
    ${job.preview ? html`<img class="grids-preview" src=${job.preview} alt="">` : nothing}
    <div class="grids-progress">
      <p class="number">${stateText(job)}</p>
      ${job.state === "running" ? html`<progress aria-label=${t("Progress of {title}", { title: name })} max="1" value=${steps ? step / steps : nothing}></progress>` : nothing}
    </div>`;
}

function pictureView(job, { media, number }, name, sizes) {
  const others = job.result.media.filter(Boolean).length - 1;
  return html`
    <a class="grids-picture" href=${`/p/${job.id}/${number}`}>${thumbnail(media.id, { sizes, alt: name, kind: spoilers.has(media.id) ? "tile-blurred" : "" })}</a>
    ${others > 0 ? html`<span class="grids-others number">+${others}</span>` : nothing}
    <a class="icon-button button grids-use" href=${`/?reuse=${job.id}&picture=${number}&how=all`} aria-label=${t("Use the settings of {name}", { name })} title=${t("Use these settings")}>${icon("reuse")}</a>`;
}

/** Width by height of what a cell will show, so that pictures move nothing when they come. */
function ratioOf(job) {
  const { width, height } = firstPicture(job)?.media ?? job.options;
  return width && height ? width / height : 1;
}

function contentView(job, name, sizes) {
  const picture = firstPicture(job);
  if (picture) return pictureView(job, picture, name, sizes);
  if (!isFinished(job)) return unfinishedView(job, name);
  return html`<p class="grids-reason">${sentenceView(job.error?.message ?? (job.state === "cancelled" ? t("Cancelled") : t("Deleted")))}</p>`;
}

/** @param {string | null} id of its job, null: it is deleted @param {string} name its place and values @param {string} sizes as in HTML */
export const cellView = (id, name, sizes) => SignalView(() => {
  const job = id === null ? null : jobSignal(id)?.value;
  if (!job) return html`<p class="grids-reason">${t("Deleted")}</p>`;
  return html`<div class="grids-box" .style=${`aspect-ratio: ${ratioOf(job)}`}>${contentView(job, name, sizes)}</div>`;
});
