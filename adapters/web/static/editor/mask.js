// The mask as pixels: the canvas over the picture, the selected share, and the uploaded file.

import { mediaUrl, upload } from "../core/api.js";
import { computed, runOnSignals, signal } from "../core/render.js";
import { t } from "../core/text.js";
import { choices, operations } from "./draft.js";
import { maskSize, picture } from "../edit/picture.js";
import { blur, drawOperation, drawOperations, readMask } from "./strokes.js";

const PAUSE_MS = 120;
const SELECTED = 128;
const GREY = 0x010101;
const OPAQUE = 0xff000000;
const SOFTNESS = 1 / 256;

export const maskCanvas = document.createElement("canvas");
maskCanvas.className = "edit-mask";
const context = maskCanvas.getContext("2d", { willReadFrequently: true });

/** The share of the picture that is repainted, 0 to 1. */
export const share = signal(0);
/** The pixels of the mask that surround what is repainted: left, top, right, bottom; null: nothing is. */
export const bounds = signal(null);
/** Masks of the draft that no longer exist: their labels. */
export const lostMasks = signal([]);
/** How soft the edge is, in pixels of the mask; the default depends on the picture's size. */
export const feather = computed(() => choices.value.feather ?? (picture.value ? Math.round(longerSide(maskSize(picture.value)) * SOFTNESS) : 0));

const longerSide = ({ width, height }) => Math.max(width, height);
const images = new Map();
let drawn = { list: [], keep: false };
let timer = null;

/** Renders the draft's mask from now on. @param {{width: number, height: number}} size @returns {() => void} ends it */
export function startMask(size) {
  Object.assign(maskCanvas, size);
  images.clear();
  drawn = { list: [], keep: false };
  lostMasks.value = [];
  const stop = runOnSignals(() => {
    void loadImages(operations.value, size);
    redraw(operations.value, choices.value.keep);
  });
  return () => {
    clearTimeout(timer);
    stop();
  };
}

/** The colour of the mask, as the style sheet says. */
const colour = () => getComputedStyle(document.documentElement).getPropertyValue("--edit-mask").trim() || "black";

function redraw(list, keep) {
  context.fillStyle = colour();
  const isLonger = list.length === drawn.list.length + 1 && drawn.list.every((operation, index) => operation === list[index]);
  if (list === drawn.list && keep === drawn.keep) return;
  if (isLonger && keep === drawn.keep) drawOperation(context, list.at(-1), keep, images);
  else drawOperations(context, list, keep, images);
  drawn = { list, keep };
  clearTimeout(timer);
  timer = setTimeout(measure, PAUSE_MS);
}

/** Redraws the whole mask: a stroke was cancelled, or an image has loaded. */
export function redrawAll() {
  drawn = { list: [], keep: null };
  redraw(operations.peek(), choices.peek().keep);
}

/** The context for the current stroke, set to paint or erase. @param {boolean} erase */
export function openStroke(erase) {
  context.fillStyle = colour();
  context.globalCompositeOperation = erase === choices.peek().keep ? "source-over" : "destination-out";
  return context;
}

async function loadImages(list, size) {
  for (const { media, label } of list) {
    if (!media || images.has(media) || lostMasks.peek().includes(label)) continue;
    const image = new Image();
    image.src = mediaUrl(media);
    images.set(media, Object.assign(document.createElement("canvas"), { width: 1, height: 1 }));
    try {
      await image.decode();
      images.set(media, readMask(image, size.width, size.height, colour()));
    } catch {
      lostMasks.value = [...lostMasks.peek(), label];
    }
    redrawAll();
  }
}

function measure() {
  clearTimeout(timer);
  const { width, height } = maskCanvas;
  const { data } = context.getImageData(0, 0, width, height);
  let [sum, left, top, right, bottom] = [0, width, height, -1, -1];
  for (let y = 0, at = 3; y < height; y += 1) {
    for (let x = 0; x < width; x += 1, at += 4) {
      sum += data[at];
      if (data[at] < SELECTED) continue;
      if (x < left) left = x;
      if (x > right) right = x;
      if (y < top) top = y;
      bottom = y;
    }
  }
  share.value = right < 0 ? 0 : sum / (255 * width * height);
  bounds.value = right < 0 ? null : [left, top, right + 1, bottom + 1];
}

/** Measures now what was drawn last. */
export function measureNow() {
  measure();
  return share.peek();
}

let sent = { list: null, keep: null, radius: null, pictureId: null, id: null };

/** Stores the mask, white where the picture is repainted; its id. The same mask is stored once. @param {string} pictureId */
export async function uploadMask(pictureId) {
  const { keep } = choices.peek();
  const [list, radius] = [operations.peek(), feather.peek()];
  if (sent.list === list && sent.keep === keep && sent.radius === radius && sent.pictureId === pictureId) return sent.id;
  const blob = await encodeMask(radius);
  const { id } = await upload(new File([blob], "mask.png", { type: "image/png" }));
  sent = { list, keep, radius, pictureId, id };
  return id;
}

/** @param {number} radius of the soft edge, in pixels of the mask; throws an Error with a sentence */
async function encodeMask(radius) {
  const { width, height } = maskCanvas;
  const pixels = context.getImageData(0, 0, width, height);
  const values = new Uint8ClampedArray(width * height);
  for (let n = 0; n < values.length; n += 1) values[n] = pixels.data[4 * n + 3];
  blur(values, width, height, radius);
  if (!values.some((value) => value >= SELECTED)) throw new Error(t("The feather is wider than the painted area. Reduce it or paint more."));
  const greys = new Uint32Array(pixels.data.buffer);
  for (let n = 0; n < values.length; n += 1) greys[n] = (values[n] * GREY) | OPAQUE;
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  canvas.getContext("2d").putImageData(pixels, 0, 0);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}
