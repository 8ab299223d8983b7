// Two pictures in one place, with a slider between them.

import { mediaUrl } from "../core/api.js";
import { html, nothing, signal } from "../core/render.js";
import { jobs } from "../core/store.js";
import { t } from "../core/text.js";
import { isBlurred } from "./shown.js";

/** The id of the picture on the left, or null: nothing is compared. */
export const compared = signal(null);
const share = signal(50);

/** Pictures to compare with: sources, earlier pictures, others of the request. @param {object} job @param {number} number */
export function candidatesOf(job, number) {
  const parent = job.parent ? jobs.value.get(job.parent)?.value : null;
  const mine = job.result?.media[number - 1]?.id;
  const sources = job.images.filter((image) => image.role !== "mask").map((image) => [image.id, t("Source picture")]);
  const others = (job.result?.media ?? []).map((media, index) => [media?.id, t("Picture {n}", { n: index + 1 })]);
  const earlier = (parent?.result?.media ?? []).map((media, index) => [media?.id, t("Earlier picture {n}", { n: index + 1 })]);
  const unique = new Map();
  for (const [id, label] of [...sources, ...earlier, ...others]) if (id && id !== mine && !unique.has(id)) unique.set(id, label);
  return [...unique];
}

export function toggleCompare(job, number) {
  const candidates = candidatesOf(job, number);
  compared.value = compared.peek() ? null : (candidates[0]?.[0] ?? null);
  share.value = 50;
  return candidates.length > 0;
}

const blurOf = (id) => (isBlurred(id) ? "viewer-blurred" : "");

/** Arrow keys move the slider instead of changing the picture. */
const keepKeys = (event) => /^Arrow|^(Home|End)$/.test(event.key) && event.stopPropagation();

/** @param {object} job @param {number} number @param {object} media @param {string} alt */
export function compareView(job, number, media, alt) {
  const candidates = candidatesOf(job, number);
  return html`
    <div class="viewer-compare">
      <div class="viewer-pair" .style=${`aspect-ratio: ${media.width} / ${media.height}; --viewer-ratio: ${media.width / media.height}; --viewer-share: ${share.value}%`}>
        <img class=${blurOf(media.id)} src=${mediaUrl(media.id, 1024)} alt=${alt} draggable="false">
        <img class="viewer-left ${blurOf(compared.value)}" src=${mediaUrl(compared.value, 1024)} alt=${candidates.find(([id]) => id === compared.value)?.[1] ?? ""} draggable="false">
        <span class="viewer-divider" aria-hidden="true"></span>
        <input type="range" min="0" max="100" step="1" .value=${String(share.value)} aria-label=${t("Comparison slider")} @keydown=${keepKeys} @input=${(event) => (share.value = Number(event.target.value))}>
      </div>
      <div class="row viewer-compare-tools">
        ${candidates.length > 1 ? html`
          <label class="row"><span>${t("Compare with")}</span>
            <select @change=${(event) => (compared.value = event.target.value)}>${candidates.map(([id, label]) => html`<option value=${id} .selected=${id === compared.value}>${label}</option>`)}</select>
          </label>` : nothing}
        <button type="button" @click=${() => (compared.value = null)}>${t("Stop comparing")}</button>
      </div>
    </div>`;
}
