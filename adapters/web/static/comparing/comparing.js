// Two pictures in one place, with a slider between them.

import { mediaUrl } from "../core/api.js";
import { html, nothing } from "../core/render.js";
import { t } from "../core/text.js";
import { candidatesOf, compared, share } from "../viewer/compare.js";
import { isBlurred } from "../viewer/shown.js";

const blurOf = (id) => (isBlurred(id) ? "viewer-blurred" : "");

/** Arrow keys move the slider instead of changing the picture. */
const keepKeys = (event) => /^Arrow|^(Home|End)$/.test(event.key) && event.stopPropagation();

/** @param {object} job @param {number} number @param {object} media @param {string} alt */
export function compareView(job, number, media, alt) {
  const candidates = candidatesOf(job, number);
  return html`
    <div class="comparing">
      <div class="comparing-pair" .style=${`aspect-ratio: ${media.width} / ${media.height}; --comparing-ratio: ${media.width / media.height}; --comparing-share: ${share.value}%`}>
        <img class=${blurOf(media.id)} src=${mediaUrl(media.id, 1024)} alt=${alt} draggable="false">
        <img class="comparing-left ${blurOf(compared.value)}" src=${mediaUrl(compared.value, 1024)} alt=${candidates.find(([id]) => id === compared.value)?.[1] ?? ""} draggable="false">
        <span class="comparing-divider" aria-hidden="true"></span>
        <input type="range" min="0" max="100" step="1" .value=${String(share.value)} aria-label=${t("Comparison slider")} @keydown=${keepKeys} @input=${(event) => (share.value = Number(event.target.value))}>
      </div>
      <div class="row comparing-tools">
        ${candidates.length > 1 ? html`
          <label class="row"><span>${t("Compare with")}</span>
            <select @change=${(event) => (compared.value = event.target.value)}>${candidates.map(([id, label]) => html`<option value=${id} .selected=${id === compared.value}>${label}</option>`)}</select>
          </label>` : nothing}
        <button type="button" @click=${() => (compared.value = null)}>${t("Stop comparing")}</button>
      </div>
    </div>`;
}
