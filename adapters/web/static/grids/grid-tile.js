// A grid among other results: one tile that opens it.

import { get } from "../core/api.js";
import { html, nothing } from "../core/render.js";
import { isFinished, jobs, putJobs, spoilers } from "../core/store.js";
import { t, tn } from "../core/text.js";
import { thumbnail, tileFrame } from "../core/tile.js";
import { promptOf, shorten } from "../core/titles.js";
import { firstPicture } from "./cells.js";

const MAX_SHOWN = 4;
/** It is the oldest: where it is known, all are. */
const FIRST_CELL = /^1?a1$/;

/** Grids of which all jobs are asked for: the newest jobs may be a part of them. */
const asked = new Set();

async function loadAll(of) {
  asked.add(of);
  try {
    putJobs(...(await get(`/batches/${of}`)).jobs);
  } catch {
    asked.delete(of);
  }
}

/** @param {string} of its id @param {() => number} tabIndex */
export function gridTile(of, tabIndex) {
  const cells = [...jobs.value.values()].map((one) => one.value).filter((job) => job.batch === of).sort((one, other) => (one.created_at < other.created_at ? -1 : 1));
  if (!cells.length) return nothing;
  if (!asked.has(of) && !cells.some((job) => FIRST_CELL.test(job.facts?.cell ?? ""))) void loadAll(of);
  const ended = cells.filter(isFinished).length;
  const made = cells.map(firstPicture).filter(Boolean);
  const pictures = made.slice(0, MAX_SHOWN);
  const done = ended < cells.length ? ended : made.length;
  const text = done < cells.length ? t("Grid: {done} of {n} pictures", { done, n: cells.length }) : tn(cells.length, "Grid of {n} picture", "Grid of {n} pictures");
  const title = shorten(promptOf(cells[0]));
  return tileFrame({
    key: `${of}/0`,
    kind: "create-tile grids-tile",
    style: "--ratio: 1",
    state: ended < cells.length ? "running" : "delivered",
    content: html`<a href=${`/grid/${of}`} data-tile tabindex=${tabIndex()}>
      <span class="grids-mosaic" data-count=${pictures.length}>${pictures.map(({ media }) => thumbnail(media.id, { sizes: "9rem", alt: "", kind: spoilers.has(media.id) ? "tile-blurred" : "" }))}</span>
      <span class="grids-label"><b>${title}</b> <span class="number">${text}</span></span>
    </a>`,
  });
}
