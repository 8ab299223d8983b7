// The picture: its thumbnail first, then all of it; zoom by wheel, keys, double click and pinch; swipes.

import { mediaUrl } from "../core/api.js";
import { html, nothing, ref, repeat, signal } from "../core/render.js";

const MAX_SCALE = 8;
const DOUBLE_CLICK_SCALE = 2.5;
const STEP = 1.4;
const SWIPE_PX = 60;
const MAX_ENLARGED = 4;
const LARGEST_VARIANT = 1024;

/** Whether the picture is zoomed in. */
export const isZoomed = signal(false);

let element = null;
let view = { scale: 1, x: 0, y: 0 };
const pointers = new Map();
let gesture = null;
/** @type {(direction: string) => void} */
let onSwipe = () => {};

export function resetZoom() {
  view = { scale: 1, x: 0, y: 0 };
  apply();
}

function apply() {
  isZoomed.value = view.scale > 1;
  if (!element) return;
  const { clientWidth, clientHeight } = element;
  const limit = (size) => ((view.scale - 1) * size) / 2;
  view.x = Math.min(limit(clientWidth), Math.max(-limit(clientWidth), view.x));
  view.y = Math.min(limit(clientHeight), Math.max(-limit(clientHeight), view.y));
  const inner = element.querySelector(".viewer-zoom");
  if (inner) inner.style.transform = view.scale === 1 ? "" : `translate(${view.x}px, ${view.y}px) scale(${view.scale})`;
}

/** Zooms around a point. @param {number} factor @param {{clientX: number, clientY: number}} [point] */
export function zoomBy(factor, point = null) {
  if (!element) return;
  const box = element.getBoundingClientRect();
  const [x, y] = point ? [point.clientX - box.left - box.width / 2, point.clientY - box.top - box.height / 2] : [0, 0];
  const scale = Math.min(MAX_SCALE, Math.max(1, view.scale * factor));
  const change = scale / view.scale;
  view = { scale, x: x - (x - view.x) * change, y: y - (y - view.y) * change };
  apply();
}

export const zoomIn = () => zoomBy(STEP);
export const zoomOut = () => zoomBy(1 / STEP);

function onWheel(event) {
  event.preventDefault();
  zoomBy(Math.exp(-event.deltaY * (event.ctrlKey ? 0.01 : 0.002)), event);
}

function onDoubleClick(event) {
  if (view.scale > 1) resetZoom();
  else zoomBy(DOUBLE_CLICK_SCALE, event);
}

const middle = () => {
  const [one, other] = [...pointers.values()];
  return { clientX: (one.clientX + other.clientX) / 2, clientY: (one.clientY + other.clientY) / 2, distance: Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY) };
};

function onPointerDown(event) {
  if (event.button || event.target.closest("button, a, input")) return;
  pointers.set(event.pointerId, event);
  if (pointers.size === 1) gesture = { x: event.clientX, y: event.clientY, isTouch: event.pointerType === "touch", wasPinch: false };
  else if (pointers.size === 2) gesture = { ...gesture, wasPinch: true, distance: middle().distance };
  event.currentTarget.setPointerCapture?.(event.pointerId);
}

function onPointerMove(event) {
  const before = pointers.get(event.pointerId);
  if (!before) return;
  pointers.set(event.pointerId, event);
  if (pointers.size === 2) {
    const now = middle();
    zoomBy(now.distance / (gesture.distance || now.distance), now);
    gesture.distance = now.distance;
  } else if (view.scale > 1) {
    view.x += event.clientX - before.clientX;
    view.y += event.clientY - before.clientY;
    apply();
  }
}

function onPointerUp(event) {
  if (!pointers.delete(event.pointerId) || pointers.size || !gesture) return;
  const { x, y, isTouch, wasPinch } = gesture;
  gesture = null;
  if (!isTouch || wasPinch || view.scale > 1 || event.type === "pointercancel") return;
  const [right, down] = [event.clientX - x, event.clientY - y];
  if (Math.abs(right) > SWIPE_PX && Math.abs(right) > 1.5 * Math.abs(down)) onSwipe(right > 0 ? "right" : "left");
  else if (down > 1.5 * SWIPE_PX && down > 1.5 * Math.abs(right)) onSwipe("down");
}

const attach = (given) => {
  element = given ?? null;
  pointers.clear();
};

const showFull = (event) => event.target.classList.add("viewer-loaded");

/** The thumbnail that the grid has already loaded, to show immediately. */
function loadedUrl(key, id) {
  /** @type {HTMLImageElement} */
  const image = document.querySelector(`[data-key="${key}"] img`);
  return image?.currentSrc || mediaUrl(id, 256);
}

/**
 * @param {{key: string, media: {id: string, width?: number, height?: number}, alt: string, isBlurred: boolean, extra?: unknown, swipe: (direction: string) => void}} options
 */
export function stageView({ key, media, alt, isBlurred, extra = nothing, swipe }) {
  onSwipe = swipe;
  const { id, width = 0, height = 0 } = media;
  const limits = width ? `max-width: ${width * MAX_ENLARGED}px; max-height: ${height * MAX_ENLARGED}px` : "";
  const isSmall = width && Math.max(width, height) <= LARGEST_VARIANT;
  const full = isZoomed.value || isSmall ? mediaUrl(id) : mediaUrl(id, LARGEST_VARIANT);
  return html`
    <div class="viewer-stage ${isZoomed.value ? "viewer-zoomed" : ""}" ${ref(attach)} @wheel=${onWheel} @dblclick=${onDoubleClick}
      @pointerdown=${onPointerDown} @pointermove=${onPointerMove} @pointerup=${onPointerUp} @pointercancel=${onPointerUp}>
      ${repeat([key], (one) => one, () => html`
        <div class="viewer-zoom ${isBlurred ? "viewer-blurred" : ""}">
          <img class="viewer-first" src=${loadedUrl(key, id)} alt="" draggable="false" .style=${limits}>
          <img class="viewer-full" src=${full} alt=${alt} width=${width || nothing} height=${height || nothing} draggable="false" decoding="async" .style=${limits} @load=${showFull}>
        </div>`)}
      ${extra}
    </div>`;
}

/** Preloads the next pictures. @param {...(string | undefined)} ids */
export function preload(...ids) {
  for (const id of ids) if (id) new Image().src = mediaUrl(id, LARGEST_VARIANT);
}
