// Rows of pictures: each row is filled to the whole width, so every picture keeps its shape.

const MIN_RATIO = 0.5;
const MAX_RATIO = 2.4;

/**
 * @typedef {object} Entry
 * @property {string} key
 * @property {string} day entries of one day follow each other
 * @property {number} ratio width by height
 * @property {string} job its id
 * @property {number} number of the picture, from 1
 * @property {"picture" | "text" | "state"} kind
 *
 * @typedef {object} Row
 * @property {number} top
 * @property {number} height
 * @property {string | null} day the day that begins here, whose heading is above the row
 * @property {{entry: Entry, left: number, width: number}[]} items
 *
 * @typedef {{width: number, rowHeight: number, gap: number, headHeight: number}} Measures
 */

/** @param {Entry[]} entries @param {Measures} measures @returns {{rows: Row[], height: number}} */
export function layOut(entries, measures) {
  const rows = [];
  let top = 0;
  for (let start = 0; start < entries.length; ) {
    const { day } = entries[start];
    const isNewDay = start === 0 || entries[start - 1].day !== day;
    if (isNewDay) top += measures.headHeight;
    const { count, height, isFull } = fillRow(entries, start, measures);
    rows.push({ top, height, day: isNewDay ? day : null, items: placeItems(entries.slice(start, start + count), height, isFull, measures) });
    top += height + measures.gap;
    start += count;
  }
  return { rows, height: top };
}

const ratioOf = (entry) => Math.min(MAX_RATIO, Math.max(MIN_RATIO, entry.ratio));

/** As many entries of one day as make a row whose height is nearest to the wanted one. */
function fillRow(entries, start, { width, rowHeight, gap }) {
  let ratios = 0;
  let best = { count: 1, height: rowHeight, isFull: false };
  for (let end = start; end < entries.length && entries[end].day === entries[start].day; end++) {
    ratios += ratioOf(entries[end]);
    const count = end - start + 1;
    const height = (width - gap * (count - 1)) / ratios;
    if (height > rowHeight) {
      best = { count, height: Math.min(height, rowHeight), isFull: false, full: height };
      continue;
    }
    if (!best.full || rowHeight - height < best.full - rowHeight) return { count, height, isFull: true };
    return { count: best.count, height: best.full, isFull: true };
  }
  return best;
}

function placeItems(entries, height, isFull, { width, gap }) {
  let left = 0;
  return entries.map((entry, index) => {
    const isLast = isFull && index === entries.length - 1;
    const item = { entry, left, width: isLast ? width - left : Math.round(ratioOf(entry) * height) };
    left += item.width + gap;
    return item;
  });
}

/** The index of the first row that ends below `top`. @param {Row[]} rows @param {number} top */
export function findRow(rows, top) {
  let [low, high] = [0, rows.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (rows[middle].top + rows[middle].height <= top) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Where an entry is: `{row, item}` as indices, or null. @param {Row[]} rows @param {string} key */
export function findItem(rows, key) {
  for (let row = 0; row < rows.length; row++) {
    const item = rows[row].items.findIndex((one) => one.entry.key === key);
    if (item >= 0) return { row, item };
  }
  return null;
}

/** The item of a row that is nearest to a horizontal position. @param {Row} row @param {number} x */
export function nearestItem({ items }, x) {
  const distance = ({ left, width }) => Math.abs(left + width / 2 - x);
  return items.reduce((found, item) => (distance(item) < distance(found) ? item : found));
}
