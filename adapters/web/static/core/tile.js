// The tile of a picture, in the gallery and in Create.

import { mediaUrl } from "./api.js";
import { html } from "./render.js";

/**
 * A picture that is as sharp as its place needs.
 * @param {string} id
 * @param {{sizes: string, alt: string, kind?: string, onLoad?: (event: Event) => void}} options `sizes` as in HTML
 */
export const thumbnail = (id, { sizes, alt, kind, onLoad }) => html`
  <img class=${kind} src=${mediaUrl(id, 256)} srcset=${`${mediaUrl(id, 256)} 256w, ${mediaUrl(id, 512)} 512w`} sizes=${sizes} alt=${alt} loading="lazy" decoding="async" @load=${onLoad}>`;

/** @param {{key: string, kind: string, style: string, state?: string, content: unknown}} tile `key`: job and number of the picture */
export const tileFrame = ({ key, kind, style, state, content }) => html`
  <div class="tile ${kind}" data-key=${key} data-state=${state} .style=${style}>${content}</div>`;

/** Opens the picture of a tile. @param {string} key @param {boolean} isTabStop @param {unknown} content */
export const pictureLink = (key, isTabStop, content) => html`<a href=${`/p/${key}`} data-tile tabindex=${isTabStop ? 0 : -1}>${content}</a>`;
