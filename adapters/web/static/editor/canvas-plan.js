// The place of a picture on the larger canvas that `zoom`, `pan` and `square` paint, as the server computes it.

import { t } from "../core/text.js";

const PAN_SHARE = 0.5;
const MAX_ASPECT = 4;
const CONTEXT = 0.25;
const ENLARGED_FROM = 2;
const MAX_ENLARGED = 4;
const WHOLE_FROM = 0.7;

/** @typedef {{width: number, height: number, left: number, top: number, picture: [number, number]}} CanvasPlan in pixels */

/**
 * @param {{command: string, options: Record<string, unknown>}} extend @param {{width: number, height: number}} size of the picture
 * @returns {CanvasPlan}
 */
export function planCanvas({ command, options }, { width, height }) {
  if (command === "zoom") return zoomOut(width, height, options.factor);
  if (command === "pan") return extendSide(width, height, options.direction);
  const side = Math.max(width, height);
  return { width: side, height: side, left: Math.floor((side - width) / 2), top: Math.floor((side - height) / 2), picture: [width, height] };
}

/** @returns {CanvasPlan} */
function zoomOut(width, height, factor) {
  const [wide, high] = [Math.round(width / factor), Math.round(height / factor)];
  return { width, height, left: Math.floor((width - wide) / 2), top: Math.floor((height - high) / 2), picture: [wide, high] };
}

/** @returns {CanvasPlan} */
function extendSide(width, height, direction) {
  const isWide = direction === "left" || direction === "right";
  const added = Math.round((isWide ? width : height) * PAN_SHARE);
  const [left, top] = [direction === "left" ? added : 0, direction === "up" ? added : 0];
  return { width: width + (isWide ? added : 0), height: height + (isWide ? 0 : added), left, top, picture: [width, height] };
}

/** The ways to extend a picture. */
export const EXTENSIONS = [
  { command: "pan", options: { direction: "left" }, label: () => t("To the left"), says: () => t("Extends the picture to the left by half its width.") },
  { command: "pan", options: { direction: "right" }, label: () => t("To the right"), says: () => t("Extends the picture to the right by half its width.") },
  { command: "pan", options: { direction: "up" }, label: () => t("Upwards"), says: () => t("Extends the picture upwards by half its height.") },
  { command: "pan", options: { direction: "down" }, label: () => t("Downwards"), says: () => t("Extends the picture downwards by half its height.") },
  { command: "zoom", options: { factor: 1.5 }, label: () => t("Zoom out 1.5×"), says: () => t("Shrinks the picture to two thirds and paints around it.") },
  { command: "zoom", options: { factor: 2 }, label: () => t("Zoom out 2×"), says: () => t("Shrinks the picture to half its size and paints around it.") },
  { command: "square", options: {}, label: () => t("Make it square"), says: () => t("Extends the shorter sides to make the picture square.") },
];

/** Whether something is left to paint, and the result is not too long. @param {object} extension @param {{width: number, height: number}} size of the picture */
export function isPossible(extension, size) {
  const plan = planCanvas(extension, size);
  const isFull = plan.picture[0] === plan.width && plan.picture[1] === plan.height;
  return !isFull && Math.max(plan.width / plan.height, plan.height / plan.width) <= MAX_ASPECT;
}

/** The entry of EXTENSIONS that is chosen. @param {{command: string, options: object} | null} extend */
export const findExtension = (extend) => EXTENSIONS.find((one) => extend && one.command === extend.command && JSON.stringify(one.options) === JSON.stringify(extend.options));

/**
 * The part of the picture that a job computes, of which its previews are: a box around the mask in the shape of the
 * computed size, as the server places it.
 * @param {number[]} bounds of the mask: left, top, right, bottom @param {[number, number]} picture @param {[number, number]} size that is computed
 * @returns {[number, number, number, number]} left, top, width, height
 */
export function findComputedBox([left, top, right, bottom], picture, size) {
  const around = 2 * CONTEXT * Math.max(right - left, bottom - top);
  let needed = Math.max((right - left + around) / size[0], (bottom - top + around) / size[1], 1 / MAX_ENLARGED);
  if (needed > 1 / ENLARGED_FROM) needed = Math.max(needed, 1);
  const largest = Math.max(picture[0] / size[0], picture[1] / size[1]);
  const scale = needed >= WHOLE_FROM * largest ? largest : needed;
  const [x, width] = placeSide(scale * size[0], picture[0], (left + right) / 2);
  const [y, height] = placeSide(scale * size[1], picture[1], (top + bottom) / 2);
  return [x, y, width, height];
}

function placeSide(side, available, middle) {
  if (side >= available) return [(available - side) / 2, side];
  return [Math.min(Math.max(0, middle - side / 2), available - side), side];
}
