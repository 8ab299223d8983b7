// One tile of the grid: a picture, an answer with its photo, or a job without a result.

import { icon } from "../core/icons.js";
import { html, nothing, SignalView } from "../core/render.js";
import { sentenceView } from "../core/sentence.js";
import { jobSignal, spoilers } from "../core/store.js";
import { t } from "../core/text.js";
import { pictureLink, thumbnail, tileFrame } from "../core/tile.js";
import { labelOfCommand, nameOf, shorten, promptOf } from "../core/titles.js";
import { selected } from "./selection.js";

const blurOf = ({ id }) => (spoilers.has(id) ? "tile-blurred" : "");
const sizesOf = (width) => `${Math.round(width)}px`;

function pictureView(job, number, width) {
  const media = job.result?.media[number - 1];
  if (!media) return nothing;
  return thumbnail(media.id, { sizes: sizesOf(width), alt: nameOf(job, number), kind: blurOf(media) });
}

function answerView(job, width) {
  const photo = job.images[0];
  return html`
    ${photo ? thumbnail(photo.id, { sizes: sizesOf(width * 0.4), alt: "", kind: `gallery-photo ${blurOf(photo)}` }) : nothing}
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
export const tileView = ({ entry, left, width }, { top, height }, isTabStop) => tileFrame({
  key: entry.key,
  kind: `gallery-tile gallery-${entry.kind}`,
  style: `transform: translate(${left}px, ${top}px); width: ${width}px; height: ${height}px`,
  content: html`
    ${pictureLink(entry.key, isTabStop, SignalView(() => {
      const job = jobSignal(entry.job)?.value;
      return job ? contentOf(entry, job, width) : nothing;
    }))}
    ${SignalView(() => checkView(entry))}
    ${SignalView(() => marksView(entry))}`,
});

function checkView({ job: id, number, key }) {
  const job = jobSignal(id)?.value;
  if (!job) return nothing;
  const isSelected = selected.value.has(key);
  return html`<button type="button" class="gallery-check" tabindex="-1" aria-pressed=${isSelected ? "true" : "false"} aria-label=${t("Select {name}", { name: nameOf(job, number) })}></button>`;
}

/** That it is a favourite, and the way to the grid that it is a cell of. */
function marksView({ job: id, number }) {
  const { batch, facts, result } = jobSignal(id)?.value ?? {};
  return html`
    ${result?.media[number - 1]?.favourite ? html`<span class="gallery-heart" role="img" aria-label=${t("Favourite")}>${icon("heart")}</span>` : nothing}
    ${facts?.cell ? html`<a class="gallery-cell" href=${`/grid/${batch}`} tabindex="-1" title=${t("Grid")}>${facts.cell}</a>` : nothing}`;
}
