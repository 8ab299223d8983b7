// A mask is a list of operations, drawn on a canvas whose opaque pixels are selected.
//
// All lengths are pixels of the mask. `erase` removes the covered area.

const ONE_POINT = 2;
const MIN_PRESSURE = 0.3;
const REPAINTED = 128;
const FLAT_SHARE = 0.95;
const TWO_TONE_SHARE = 0.01;
const MAX_FLAT_COLOURS = 8;

/**
 * @typedef {object} Operation
 * @property {number} [id] once it is in the list
 * @property {"stroke" | "lasso" | "rectangle" | "image" | "invert" | "clear"} kind
 * @property {boolean} [erase]
 * @property {number} [size] diameter of a stroke
 * @property {number[]} [points] x, y, x, y…: of a stroke or a lasso
 * @property {number[]} [pressures] 0 to 1, one for each point of a stroke that a pen drew
 * @property {[number, number, number, number]} [box] of a rectangle: left, top, width, height
 * @property {string} [media] of an image: the id of a mask
 * @property {string} [label] of an image: the words it was found by, or its file's name
 */

/**
 * Draws one operation.
 * @param {CanvasRenderingContext2D} context
 * @param {Operation} operation
 * @param {boolean} isInverse the canvas shows what is not selected
 * @param {Map<string, HTMLCanvasElement>} images masks by id, as `readMask` makes them
 */
export function drawOperation(context, operation, isInverse, images) {
  const { width, height } = context.canvas;
  const fillsAll = operation.kind === "clear" && isInverse;
  if (operation.kind === "clear") context.clearRect(0, 0, width, height);
  if (operation.kind === "clear" && !fillsAll) return;
  const isAdded = Boolean(operation.erase) === isInverse;
  context.globalCompositeOperation = operation.kind === "invert" ? "xor" : isAdded || fillsAll ? "source-over" : "destination-out";
  if (operation.kind === "invert" || fillsAll) context.fillRect(0, 0, width, height);
  else if (operation.kind === "rectangle") context.fillRect(...operation.box);
  else if (operation.kind === "lasso") fillLasso(context, operation.points);
  else if (operation.kind === "stroke") drawStroke(context, operation, 0);
  else if (images.has(operation.media)) context.drawImage(images.get(operation.media), 0, 0, width, height);
}

/**
 * Draws a list of operations on an empty canvas.
 * @param {CanvasRenderingContext2D} context @param {Operation[]} operations @param {boolean} isInverse @param {Map<string, HTMLCanvasElement>} images
 */
export function drawOperations(context, operations, isInverse, images) {
  const start = operations.findLastIndex((operation) => operation.kind === "clear") + 1;
  context.globalCompositeOperation = "source-over";
  context.clearRect(0, 0, context.canvas.width, context.canvas.height);
  for (const operation of operations.slice(start)) drawOperation(context, operation, false, images);
  if (isInverse) drawOperation(context, { kind: "invert" }, false, images);
}

/** Draws a stroke from one of its points on, which is how it grows under the pointer. @param {CanvasRenderingContext2D} context @param {Omit<Operation, "kind">} stroke @param {number} from the number of a point */
export function drawStroke(context, { points, pressures, size }, from) {
  context.lineCap = "round";
  context.lineJoin = "round";
  context.strokeStyle = context.fillStyle;
  if (points.length === ONE_POINT) return void drawDot(context, points, size * thickness(pressures, 0));
  if (!pressures) return void drawLine(context, points, from, points.length / 2 - 1, size);
  for (let n = from; n < points.length / 2 - 1; n += 1) drawLine(context, points, n, n + 1, size * thickness(pressures, n + 1));
}

const thickness = (pressures, n) => (pressures ? MIN_PRESSURE + (1 - MIN_PRESSURE) * pressures[n] : 1);

/** @param {CanvasRenderingContext2D} context @param {number[]} point @param {number} size */
function drawDot(context, [x, y], size) {
  context.beginPath();
  context.arc(x, y, size / 2, 0, 2 * Math.PI);
  context.fill();
}

function drawLine(context, points, from, to, size) {
  context.lineWidth = size;
  context.beginPath();
  for (let n = from; n <= to; n += 1) context.lineTo(points[2 * n], points[2 * n + 1]);
  context.stroke();
}

function fillLasso(context, points) {
  context.beginPath();
  for (let n = 0; n < points.length; n += 2) context.lineTo(points[n], points[n + 1]);
  context.fill();
}

/**
 * A mask file as a canvas on which opaque pixels are selected. The server reads masks by the same rules: light pixels
 * are selected; on a clear ground strokes of a few colours, and of a picture with holes, the holes.
 * @param {CanvasImageSource} image @param {number} width @param {number} height
 * @param {string} colour of the selected pixels
 */
export function readMask(image, width, height, colour) {
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(image, 0, 0, width, height);
  const pixels = context.getImageData(0, 0, width, height);
  setAlpha(pixels.data);
  context.putImageData(pixels, 0, 0);
  context.globalCompositeOperation = "source-in";
  context.fillStyle = colour;
  context.fillRect(0, 0, width, height);
  return canvas;
}

function setAlpha(data) {
  const meaning = findMeaning(data);
  for (let at = 0; at < data.length; at += 4) {
    const lightness = 0.299 * data[at] + 0.587 * data[at + 1] + 0.114 * data[at + 2];
    if (meaning === "light") data[at + 3] = (lightness * data[at + 3]) / 255;
    else if (meaning === "holes") data[at + 3] = 255 - data[at + 3];
  }
}

/** "light": by lightness, "strokes": what is visible, "holes": what is not. */
function findMeaning(data) {
  const counts = new Map();
  let [visible, black, white, isOpaque] = [0, 0, 0, true];
  for (let at = 0; at < data.length; at += 4) {
    if (data[at + 3] < 255) isOpaque = false;
    if (data[at + 3] < REPAINTED) continue;
    const colour = [data[at], data[at + 1], data[at + 2]];
    visible += 1;
    if (Math.max(...colour) < 64) black += 1;
    if (Math.min(...colour) >= 192) white += 1;
    const coarse = colour.reduce((sum, value) => sum * 8 + (Math.min(255, value + 16) >> 5), 0);
    counts.set(coarse, (counts.get(coarse) ?? 0) + 1);
  }
  if (isOpaque) return "light";
  if (visible && Math.min(black, white) >= TWO_TONE_SHARE * visible && black + white >= FLAT_SHARE * visible) return "light";
  const largest = [...counts.values()].sort((one, other) => other - one).slice(0, MAX_FLAT_COLOURS);
  return largest.reduce((sum, count) => sum + count, 0) >= FLAT_SHARE * visible ? "strokes" : "holes";
}

/** Softens values of 0 to 255 in place: three box blurs are nearly a Gaussian one. @param {Uint8ClampedArray} values @param {number} radius */
export function blur(values, width, height, radius) {
  const side = Math.round(radius / 1.7);
  if (side < 1) return;
  const line = new Uint8ClampedArray(Math.max(width, height));
  for (let pass = 0; pass < 3; pass += 1) {
    for (let y = 0; y < height; y += 1) blurLine(values, line, y * width, 1, width, side);
    for (let x = 0; x < width; x += 1) blurLine(values, line, x, width, height, side);
  }
}

/** The mean of each value and `side` others on both sides; beyond the ends, the last value is repeated. */
function blurLine(values, line, start, step, length, side) {
  const last = length - 1;
  let sum = values[start] * (side + 1);
  for (let n = 1; n <= side; n += 1) sum += values[start + Math.min(n, last) * step];
  for (let n = 0; n < length; n += 1) {
    line[n] = sum / (2 * side + 1);
    sum += values[start + Math.min(n + side + 1, last) * step] - values[start + Math.max(n - side, 0) * step];
  }
  for (let n = 0; n < length; n += 1) values[start + n * step] = line[n];
}
