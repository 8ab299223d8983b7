// One tile of the grid: a picture, an answer with its photo, or a job without a result.

import { mediaUrl } from "../core/api.js";
import { icon } from "../core/icons.js";
import { html, nothing, SignalView } from "../core/render.js";
import { sentenceView } from "../core/sentence.js";
import { jobSignal } from "../core/store.js";
import { t } from "../core/text.js";
import { selected } from "./selection.js";
import { labelOfCommand, nameOf, shorten, promptOf } from "./titles.js";

/** A picture that is as sharp as its place needs. @param {string} id @param {number} width CSS pixels @param {string} alt @param {string} [kind] */
const thumbnail = (id, width, alt, kind = "") => html`
  <img class=${kind} src=${mediaUrl(id, 256)} srcset=${`${mediaUrl(id, 256)} 256w, ${mediaUrl(id, 512)} 512w`} sizes=${`${Math.round(width)}px`} alt=${alt} loading="lazy" decoding="async">`;

function pictureView(job, number, width) {
  const media = job.result?.media[number - 1];
  if (!media) return nothing;
  return thumbnail(media.id, width, nameOf(job, number), media.spoiler ? "gallery-blurred" : "");
}

function answerView(job, width) {
  const photo = job.images[0];
  return html`
    ${photo ? thumbnail(photo.id, width * 0.4, "", "gallery-photo") : nothing}
    <span class="gallery-words"><b>${shorten(job.options.question || labelOfCommand(job.command), 80)}</b> ${shorten(job.result.text ?? "", 240)}</span>`;
}

const STATES = { queued: () => t("Queued"), running: () => t("Running"), cancelled: () => t("Cancelled") };

const stateOf = (job) => html`
  <span class="gallery-words"><b>${shorten(promptOf(job), 80)}</b> ${sentenceView(job.error?.message ?? STATES[job.state]?.() ?? "")}</span>`;

function contentOf(entry, job, width) {
  if (entry.kind === "picture") return pictureView(job, entry.number, width);
  return job.result ? answerView(job, width) : stateOf(job);
}

/**
 * @param {{entry: import("./layout.js").Entry, left: number, width: number}} item
 * @param {{top: number, height: number}} row
 * @param {boolean} isTabStop
 */
export const tileView = ({ entry, left, width }, { top, height }, isTabStop) => html`
  <div class="gallery-tile gallery-${entry.kind}" data-key=${entry.key} .style=${`transform: translate(${left}px, ${top}px); width: ${width}px; height: ${height}px`}>
    <a href=${`/p/${entry.key}`} tabindex=${isTabStop ? 0 : -1}>${SignalView(() => {
      const job = jobSignal(entry.job)?.value;
      return job ? contentOf(entry, job, width) : nothing;
    })}</a>
    ${SignalView(() => checkView(entry))}
    ${SignalView(() => heartView(entry))}
  </div>`;

function checkView({ job: id, number, key }) {
  const job = jobSignal(id)?.value;
  if (!job) return nothing;
  const isSelected = selected.value.has(key);
  return html`<button type="button" class="gallery-check" tabindex="-1" aria-pressed=${isSelected ? "true" : "false"} aria-label=${t("Select {name}", { name: nameOf(job, number) })}></button>`;
}

function heartView({ job: id, number }) {
  const isFavourite = jobSignal(id)?.value.result?.media[number - 1]?.favourite;
  return isFavourite ? html`<span class="gallery-heart" role="img" aria-label=${t("Favourite")}>${icon("heart")}</span>` : nothing;
}
