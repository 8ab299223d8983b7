// Time-series plots as inline SVG, each with a table of the same data.

import { html, nothing, svg } from "../core/render.js";
import { formatTime, t } from "../core/text.js";

const IS_NARROW = matchMedia("(max-width: 48rem)").matches;
const [WIDTH, HEIGHT, LEFT, BOTTOM, TOP] = [IS_NARROW ? 340 : 600, 190, 60, 24, 10];
const [INNER_WIDTH, INNER_HEIGHT] = [WIDTH - LEFT - 8, HEIGHT - TOP - BOTTOM];
const HOURS_STEP = IS_NARROW ? 8 : 4;
const HOUR_MS = 3_600_000;
const BINS = 144;
const TABLE_BINS = 12;
const GRID_LINES = 4;

/**
 * @typedef {object} Line
 * @property {string} label
 * @property {(number | null)[]} values one for each minute
 * @property {"sum" | "max"} merge how values of several minutes become one
 */

/** The span in equal bins, each with the time of its end. */
function bin(minutes, values, { from, to, count, merge }) {
  const bins = Array(count).fill(null);
  minutes.forEach((minute, index) => {
    const at = Math.floor(((minute - from) / (to - from)) * count);
    const value = values[index] ?? null;
    if (at < 0 || at >= count || value === null) return;
    bins[at] = bins[at] === null ? value : merge === "sum" ? bins[at] + value : Math.max(bins[at], value);
  });
  return bins;
}

/** A round number that is not below `value`, and divisible by the number of grid lines. */
function roundUp(value) {
  if (value <= 0) return GRID_LINES;
  const unit = 10 ** Math.floor(Math.log10(value / GRID_LINES));
  const step = [1, 2, 2.5, 5, 10].find((factor) => factor * unit * GRID_LINES >= value) ?? 10;
  return step * unit * GRID_LINES;
}

const xOf = (at, count) => LEFT + ((at + 0.5) / count) * INNER_WIDTH;
const yOf = (value, top) => TOP + INNER_HEIGHT * (1 - value / top);

function linePath(bins, top) {
  let isDown = false;
  const parts = bins.map((value, at) => {
    if (value === null) {
      isDown = false;
      return "";
    }
    const command = isDown ? "L" : "M";
    const dot = !isDown && (bins[at + 1] ?? null) === null ? "h0.01" : "";
    isDown = true;
    return `${command}${xOf(at, bins.length).toFixed(1)} ${yOf(value, top).toFixed(1)}${dot}`;
  });
  return parts.join("");
}

function barPath(bins, top) {
  const width = Math.max(1, INNER_WIDTH / bins.length - 1);
  return bins.map((value, at) => (value ? `M${(xOf(at, bins.length) - width / 2).toFixed(1)} ${TOP + INNER_HEIGHT}h${width.toFixed(1)}V${yOf(value, top).toFixed(1)}h-${width.toFixed(1)}z` : "")).join("");
}

/**
 * @param {{id: string, title: string, minutes: number[], lines: Line[], format: (value: number) => string, from: number, to: number, isBars?: boolean}} plot
 */
export function plotView(plot) {
  const { id, title, minutes, lines, format, from, to, isBars = false } = plot;
  const binned = lines.map((line) => bin(minutes, line.values, { from, to, count: BINS, merge: line.merge }));
  const known = binned.flat().filter((value) => value !== null);
  const head = html`<h2 id=${`plot-${id}`}>${title}</h2>`;
  if (!known.length) return html`<section class="card admin-card admin-plot" aria-labelledby=${`plot-${id}`}>${head}<p class="hint">${t("No data for the last 24 hours yet.")}</p></section>`;
  const top = roundUp(Math.max(...known));
  return html`
    <section class="card admin-card admin-plot" aria-labelledby=${`plot-${id}`}>
      <div class="row">${head}${lines.length > 1 ? legendView(lines) : nothing}</div>
      <svg viewBox=${`0 0 ${WIDTH} ${HEIGHT}`} role="img" aria-label=${t("{title}: peak {most}. The table below shows the same data.", { title, most: format(Math.max(...known)) })}>
        ${gridView(top, format)}
        ${hoursView(from, to)}
        ${binned.map((bins, index) => svg`<path class=${`admin-line-${index % 4} ${isBars ? "admin-bars" : "admin-line"}`} d=${isBars ? barPath(bins, top) : linePath(bins, top)}/>`)}
      </svg>
      ${tableView(plot)}
    </section>`;
}

const legendView = (lines) => html`<ul class="admin-legend">${lines.map((line, index) => html`<li><svg viewBox="0 0 24 8" aria-hidden="true"><path class=${`admin-line-${index % 4} admin-line`} d="M1 4h22"/></svg>${line.label}</li>`)}</ul>`;

const gridView = (top, format) => Array.from({ length: GRID_LINES + 1 }, (_, line) => {
  const value = (top * line) / GRID_LINES;
  const y = yOf(value, top);
  return svg`<path class="admin-rule" d=${`M${LEFT} ${y}H${WIDTH - 8}`}/><text x=${LEFT - 6} y=${y + 4} text-anchor="end">${format(value)}</text>`;
});

function hoursView(from, to) {
  const first = new Date(from);
  first.setMinutes(0, 0, 0);
  const marks = [];
  for (let time = first.getTime() + HOUR_MS; time < to; time += HOUR_MS) if (new Date(time).getHours() % HOURS_STEP === 0 && to - time > (HOURS_STEP / 3) * HOUR_MS) marks.push(time);
  return marks.map((time) => svg`<text x=${LEFT + ((time - from) / (to - from)) * INNER_WIDTH} y=${HEIGHT - 6} text-anchor="middle">${new Date(time).toLocaleTimeString(undefined, { hour: "2-digit", minute: "2-digit" })}</text>`);
}

function tableView({ title, minutes, lines, format, from, to }) {
  const columns = lines.map((line) => bin(minutes, line.values, { from, to, count: TABLE_BINS, merge: line.merge }));
  const starts = Array.from({ length: TABLE_BINS }, (_, at) => new Date(from + (at / TABLE_BINS) * (to - from)).toISOString());
  return html`
    <details>
      <summary>${t("Show table")}</summary>
      <div class="admin-table" tabindex="0" role="region" aria-label=${t("Table: {title}", { title })}>
        <table>
          <thead><tr><th scope="col">${t("2-hour period from")}</th>${lines.map((line) => html`<th scope="col">${line.label}</th>`)}</tr></thead>
          <tbody>${starts.map((start, at) => html`<tr><th scope="row">${formatTime(start)}</th>${columns.map((column) => html`<td>${column[at] === null ? "–" : format(column[at])}</td>`)}</tr>`)}</tbody>
        </table>
      </div>
    </details>`;
}
