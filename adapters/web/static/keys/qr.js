// QR codes of short texts: byte mode, error correction M, versions 1 to 15 (ISO/IEC 18004).

import { svg } from "../core/render.js";

const QUIET_ZONE = 4;
const MAX_VERSION = 15;
/** By version from 1: error correction codewords of a block, and blocks. */
const CHECK_WORDS = [10, 16, 26, 18, 24, 16, 18, 22, 22, 26, 30, 22, 22, 24, 24];
const BLOCKS = [1, 1, 1, 2, 2, 4, 4, 4, 5, 5, 5, 8, 9, 9, 10];
const MASKS = [
  (x, y) => (x + y) % 2,
  (x, y) => y % 2,
  (x) => x % 3,
  (x, y) => (x + y) % 3,
  (x, y) => (Math.floor(x / 3) + Math.floor(y / 2)) % 2,
  (x, y) => ((x * y) % 2) + ((x * y) % 3),
  (x, y) => (((x * y) % 2) + ((x * y) % 3)) % 2,
  (x, y) => (((x + y) % 2) + ((x * y) % 3)) % 2,
];

/** Modules that carry data and error correction, in bits. */
function countBits(version) {
  const size = 17 + 4 * version;
  const alignments = version === 1 ? 0 : Math.floor(version / 7) + 2;
  const functional = 3 * 64 + 2 * (size - 16) + 31 + (version >= 7 ? 36 : 0) + (alignments ? (alignments ** 2 - 3) * 25 - (alignments - 2) * 10 : 0);
  return size ** 2 - functional;
}

const countDataWords = (version) => Math.floor(countBits(version) / 8) - CHECK_WORDS[version - 1] * BLOCKS[version - 1];

function multiply(one, other) {
  let product = 0;
  for (let bit = 7; bit >= 0; bit--) product = (product << 1) ^ ((product >> 7) * 0x11d) ^ (((other >> bit) & 1) * one);
  return product;
}

/** Coefficients of the Reed-Solomon generator, without the first. */
function makeDivisor(degree) {
  const divisor = [...Array(degree - 1).fill(0), 1];
  let root = 1;
  for (let step = 0; step < degree; step++) {
    for (let at = 0; at < degree; at++) divisor[at] = multiply(divisor[at], root) ^ (divisor[at + 1] ?? 0);
    root = multiply(root, 2);
  }
  return divisor;
}

function checkWords(data, divisor) {
  const rest = Array(divisor.length).fill(0);
  for (const word of data) {
    const factor = word ^ rest.shift();
    rest.push(0);
    divisor.forEach((coefficient, at) => (rest[at] ^= multiply(coefficient, factor)));
  }
  return rest;
}

/** The bytes with their header, filled up. */
function makeData(bytes, version) {
  const bits = [];
  const push = (value, length) => { for (let bit = length - 1; bit >= 0; bit--) bits.push((value >> bit) & 1); };
  push(4, 4);
  push(bytes.length, version < 10 ? 8 : 16);
  bytes.forEach((byte) => push(byte, 8));
  const capacity = 8 * countDataWords(version);
  push(0, Math.min(4, capacity - bits.length));
  push(0, -bits.length & 7);
  for (let fill = 0xec; bits.length < capacity; fill ^= 0xec ^ 0x11) push(fill, 8);
  return Array.from({ length: capacity / 8 }, (_, at) => bits.slice(8 * at, 8 * at + 8).reduce((word, bit) => 2 * word + bit, 0));
}

/** Data and error correction of all blocks, interleaved. */
function interleave(data, version) {
  const [count, checks] = [BLOCKS[version - 1], CHECK_WORDS[version - 1]];
  const all = Math.floor(countBits(version) / 8);
  const longer = all % count;
  const short = Math.floor(all / count) - checks;
  const divisor = makeDivisor(checks);
  let start = 0;
  const blocks = Array.from({ length: count }, (_, index) => {
    const length = short + (index < count - longer ? 0 : 1);
    const part = data.slice(start, (start += length));
    return { part, check: checkWords(part, divisor) };
  });
  const column = (key, at) => blocks.map((block) => block[key][at]).filter((word) => word !== undefined);
  return [...Array.from({ length: short + 1 }, (_, at) => column("part", at)), ...Array.from({ length: checks }, (_, at) => column("check", at))].flat();
}

class Grid {
  constructor(version) {
    this.version = version;
    this.size = 17 + 4 * version;
    this.dark = Array.from({ length: this.size }, () => Array(this.size).fill(false));
    this.isFixed = Array.from({ length: this.size }, () => Array(this.size).fill(false));
    this.drawPatterns();
  }

  fix(x, y, isDark) {
    if (x < 0 || y < 0 || x >= this.size || y >= this.size) return;
    this.dark[y][x] = Boolean(isDark);
    this.isFixed[y][x] = true;
  }

  drawPatterns() {
    const last = this.size - 1;
    for (let at = 0; at <= last; at++) {
      this.fix(6, at, at % 2 === 0);
      this.fix(at, 6, at % 2 === 0);
    }
    for (const [x, y] of [[3, 3], [last - 3, 3], [3, last - 3]]) this.drawSquare(x, y, 4, (distance) => distance !== 2 && distance !== 4);
    const places = this.alignments();
    const end = places.length - 1;
    places.forEach((x, i) => places.forEach((y, j) => {
      const isCorner = (i === 0 && j === 0) || (i === 0 && j === end) || (i === end && j === 0);
      if (!isCorner) this.drawSquare(x, y, 2, (distance) => distance !== 1);
    }));
    this.drawFormat(0);
    if (this.version >= 7) this.drawVersion();
  }

  drawSquare(x, y, radius, isDark) {
    for (let dy = -radius; dy <= radius; dy++) {
      for (let dx = -radius; dx <= radius; dx++) this.fix(x + dx, y + dy, isDark(Math.max(Math.abs(dx), Math.abs(dy))));
    }
  }

  alignments() {
    if (this.version === 1) return [];
    const count = Math.floor(this.version / 7) + 2;
    const step = Math.ceil((this.size - 13) / (2 * count - 2)) * 2;
    return [6, ...Array.from({ length: count - 1 }, (_, at) => this.size - 7 - at * step).reverse()];
  }

  /** Error correction M has the bits 00. */
  drawFormat(mask) {
    let rest = mask;
    for (let step = 0; step < 10; step++) rest = (rest << 1) ^ ((rest >> 9) * 0x537);
    const bits = ((mask << 10) | rest) ^ 0x5412;
    const bit = (at) => (bits >> at) & 1;
    for (let at = 0; at < 6; at++) this.fix(8, at, bit(at));
    this.fix(8, 7, bit(6));
    this.fix(8, 8, bit(7));
    this.fix(7, 8, bit(8));
    for (let at = 9; at < 15; at++) this.fix(14 - at, 8, bit(at));
    for (let at = 0; at < 8; at++) this.fix(this.size - 1 - at, 8, bit(at));
    for (let at = 8; at < 15; at++) this.fix(8, this.size - 15 + at, bit(at));
    this.fix(8, this.size - 8, true);
  }

  drawVersion() {
    let rest = this.version;
    for (let step = 0; step < 12; step++) rest = (rest << 1) ^ ((rest >> 11) * 0x1f25);
    const bits = (this.version << 12) | rest;
    for (let at = 0; at < 18; at++) {
      const [far, near] = [this.size - 11 + (at % 3), Math.floor(at / 3)];
      this.fix(far, near, (bits >> at) & 1);
      this.fix(near, far, (bits >> at) & 1);
    }
  }

  drawWords(words) {
    let at = 0;
    for (let right = this.size - 1; right >= 1; right -= 2) {
      if (right === 6) right = 5;
      const isUp = ((right + 1) & 2) === 0;
      for (let step = 0; step < this.size; step++) {
        const y = isUp ? this.size - 1 - step : step;
        for (const x of [right, right - 1]) {
          if (this.isFixed[y][x] || at >= words.length * 8) continue;
          this.dark[y][x] = Boolean((words[at >> 3] >> (7 - (at & 7))) & 1);
          at++;
        }
      }
    }
  }

  applyMask(mask) {
    this.dark.forEach((row, y) => row.forEach((isDark, x) => {
      if (!this.isFixed[y][x] && MASKS[mask](x, y) === 0) row[x] = !isDark;
    }));
  }

  penalty() {
    const columns = this.dark.map((_, x) => this.dark.map((row) => row[x]));
    const lines = [...this.dark, ...columns].map((line) => line.map(Number).join(""));
    let sum = 0;
    for (const line of lines) {
      for (const [run] of line.matchAll(/0{5,}|1{5,}/g)) sum += run.length - 2;
      sum += 40 * [...line.matchAll(/(?=00001011101|10111010000)/g)].length;
    }
    for (let y = 1; y < this.size; y++) {
      for (let x = 1; x < this.size; x++) {
        const isDark = this.dark[y][x];
        if (isDark === this.dark[y][x - 1] && isDark === this.dark[y - 1][x] && isDark === this.dark[y - 1][x - 1]) sum += 3;
      }
    }
    const share = this.dark.flat().filter(Boolean).length / this.size ** 2;
    return sum + 10 * Math.floor(Math.abs(share - 0.5) * 20);
  }
}

/**
 * The modules of a text's QR code, row by row; true is dark.
 * @param {string} text
 * @returns {boolean[][]} throws a RangeError if the text is too long
 */
export function encodeQr(text) {
  const bytes = new TextEncoder().encode(text);
  const needed = (version) => bytes.length + (version < 10 ? 2 : 3);
  const version = Array.from({ length: MAX_VERSION }, (_, at) => at + 1).find((one) => needed(one) <= countDataWords(one));
  if (!version) throw new RangeError("The text is too long for a QR code.");
  const words = interleave(makeData(bytes, version), version);
  const grids = MASKS.map((_, mask) => {
    const grid = new Grid(version);
    grid.drawWords(words);
    grid.applyMask(mask);
    grid.drawFormat(mask);
    return grid;
  });
  const penalties = grids.map((grid) => grid.penalty());
  return grids[penalties.indexOf(Math.min(...penalties))].dark;
}

/** The QR code as an SVG of its own colours: scanners need dark on light. @param {string} text @param {string} label */
export function qrView(text, label) {
  const rows = encodeQr(text);
  const side = rows.length + 2 * QUIET_ZONE;
  const path = rows.flatMap((row, y) => row.map((isDark, x) => (isDark ? `M${x + QUIET_ZONE} ${y + QUIET_ZONE}h1v1h-1z` : ""))).join("");
  return svg`<svg class="qr" viewBox="0 0 ${side} ${side}" role="img" aria-label=${label} shape-rendering="crispEdges"><rect width=${side} height=${side} fill="#fff"/><path d=${path} fill="#000"/></svg>`;
}
