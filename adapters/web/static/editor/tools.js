// Pointer and keyboard input on the stage: paint, erase, outline, pan, zoom.

import { computed, signal, storedSignal } from "../core/render.js";
import { addOperation, choices } from "./draft.js";
import { maskCanvas, openStroke, redrawAll } from "./mask.js";
import { drawStroke } from "./strokes.js";
import { isDrawing, moveBy, shownResult, fitToView, stageSize, viewport, zoomBy } from "./viewport.js";

const MIN_SIZE = 2;
const SIZE_STEP = 1.2;
const WHEEL_SPEED = 0.0015;
const ARROW_STEP = 40;
const MIN_DISTANCE = 1.5;
const ERASER_BUTTON = 32;
const ARROWS = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };

/** "brush", "eraser", "lasso", "rectangle" or "move". */
export const tool = signal("brush");
/** Diameter of the brush in thousandths of the picture's longer side. */
export const brushSize = storedSignal("edit.brush", 60);
/** 0 to 1: how much of the picture the mask hides. */
export const maskOpacity = storedSignal("edit.opacity", 0.55);
/** The outline that is being drawn: `{kind, points}` in pixels of the mask, or null. */
export const outline = signal(null);
/** Where the brush is, for its ring: `{x, y}` in CSS pixels of the stage, or null. */
export const hover = signal(null);

const isSpaceDown = signal(false);
const isMoving = signal(false);
/** Whether a drag moves the picture. */
export const isPanning = computed(() => tool.value === "move" || isSpaceDown.value || isMoving.value || choices.value.mode === "extend" || Boolean(shownResult.value));

const pointers = new Map();
/** The stroke or outline that is being drawn: "kind" is a tool. @type {object} */
let stroke = null;

/** @param {number} direction 1 or -1 */
export function changeSize(direction) {
  const next = brushSize.peek() * SIZE_STEP ** direction;
  brushSize.value = Math.round(Math.min(400, Math.max(MIN_SIZE, next)));
}

const longerSide = () => Math.max(maskCanvas.width, maskCanvas.height);
const strokeSize = () => Math.max(1, Math.round((brushSize.peek() * longerSide()) / 1000));
/** CSS pixels of the brush. */
export const ringSize = () => (strokeSize() * maskCanvas.getBoundingClientRect().width) / maskCanvas.width;

function toMask({ clientX, clientY }) {
  const box = maskCanvas.getBoundingClientRect();
  const round = (value) => Math.round(value * 10) / 10;
  return [round(((clientX - box.left) * maskCanvas.width) / box.width), round(((clientY - box.top) * maskCanvas.height) / box.height)];
}

function toStage(event) {
  const box = event.currentTarget.getBoundingClientRect();
  return { x: event.clientX - box.left, y: event.clientY - box.top };
}

function down(event) {
  const isPalm = event.pointerType === "touch" && stroke?.isPen;
  if (event.target.closest("button, input, a") || event.button > 1 || isPalm) return;
  event.currentTarget.focus({ preventScroll: true });
  event.currentTarget.setPointerCapture(event.pointerId);
  event.preventDefault();
  pointers.set(event.pointerId, toStage(event));
  if (pointers.size > 1) return void cancelStroke();
  isMoving.value = event.button === 1;
  if (!isPanning.peek()) start(event);
}

function start(event) {
  const erase = tool.peek() === "eraser" || event.altKey || Boolean(event.buttons & ERASER_BUTTON);
  const kind = tool.peek() === "eraser" ? "brush" : tool.peek();
  const isPen = event.pointerType === "pen";
  const pressures = isPen && event.pressure > 0 ? [event.pressure] : null;
  stroke = { kind, pointerId: event.pointerId, isPen, erase, points: toMask(event), pressures, size: strokeSize() };
  isDrawing.value = true;
  if (kind === "brush") drawStroke(openStroke(erase), stroke, 0);
  else outline.value = { kind, points: [...stroke.points] };
}

function move(event) {
  const known = pointers.get(event.pointerId);
  const at = toStage(event);
  hover.value = event.pointerType === "touch" || isPanning.peek() ? null : at;
  if (!known) return;
  if (pointers.size === 2) pinch(event.pointerId, at);
  else if (isPanning.peek()) moveBy(at.x - known.x, at.y - known.y);
  else if (stroke?.pointerId === event.pointerId) extendStroke(event);
  pointers.set(event.pointerId, at);
}

function extendStroke(event) {
  const events = event.getCoalescedEvents?.() ?? [];
  const from = stroke.points.length / 2 - 1;
  for (const one of events.length ? events : [event]) {
    const point = toMask(one);
    const [x, y] = stroke.points.slice(-2);
    if (Math.hypot(point[0] - x, point[1] - y) < MIN_DISTANCE) continue;
    stroke.points.push(...point);
    stroke.pressures?.push(Math.round(one.pressure * 100) / 100);
  }
  if (stroke.kind !== "brush") outline.value = { kind: stroke.kind, points: [...stroke.points] };
  else if (stroke.points.length / 2 - 1 > from) drawStroke(openStroke(stroke.erase), stroke, from);
}

function pinch(id, at) {
  const other = [...pointers].find(([one]) => one !== id)[1];
  const before = pointers.get(id);
  const distance = (one, two) => Math.hypot(one.x - two.x, one.y - two.y) || 1;
  zoomBy(distance(at, other) / distance(before, other), { x: (before.x + other.x) / 2, y: (before.y + other.y) / 2 });
  moveBy((at.x - before.x) / 2, (at.y - before.y) / 2);
}

function up(event) {
  pointers.delete(event.pointerId);
  isMoving.value = false;
  if (stroke?.pointerId === event.pointerId) finish();
}

function finish() {
  const { kind, erase, points, pressures, size } = stroke;
  stroke = null;
  outline.value = null;
  isDrawing.value = false;
  if (kind === "brush") addOperation({ kind: "stroke", erase, size, points, ...(pressures && { pressures }) });
  else if (kind === "lasso" && points.length > 4) addOperation({ kind: "lasso", erase, points });
  else if (kind === "rectangle") addRectangle(boxOf(points), erase);
}

/** Left, top, width and height of what two corners span, inside the mask. */
export function boxOf(points) {
  const clamp = (value, side) => Math.round(Math.min(side, Math.max(0, value)));
  const [xs, ys] = [[points[0], points.at(-2)], [points[1], points.at(-1)]];
  const [left, right] = [Math.min(...xs), Math.max(...xs)].map((x) => clamp(x, maskCanvas.width));
  const [top, bottom] = [Math.min(...ys), Math.max(...ys)].map((y) => clamp(y, maskCanvas.height));
  return [left, top, right - left, bottom - top];
}

/** @param {number[]} box left, top, width and height in pixels of the mask; an empty one is ignored */
export function addRectangle(box, erase = false) {
  if (box[2] > 0 && box[3] > 0) addOperation({ kind: "rectangle", erase, box });
}

function cancelStroke() {
  const wasDrawn = stroke?.kind === "brush";
  stroke = null;
  outline.value = null;
  isDrawing.value = false;
  if (wasDrawn) redrawAll();
}

function cancel(event) {
  pointers.delete(event.pointerId);
  isMoving.value = false;
  if (stroke?.pointerId === event.pointerId) cancelStroke();
}

function wheel(event) {
  event.preventDefault();
  zoomBy(Math.exp(-event.deltaY * WHEEL_SPEED * (event.deltaMode ? 20 : 1) * (event.ctrlKey ? 4 : 1)), toStage(event));
}

function keyDown(event) {
  if (event.target !== event.currentTarget || event.ctrlKey || event.metaKey || event.altKey) return;
  const arrow = ARROWS[event.key];
  if (event.key === " ") isSpaceDown.value = true;
  else if (arrow) moveBy(arrow[0] * ARROW_STEP, arrow[1] * ARROW_STEP);
  else if (event.key === "Escape" && stroke) cancelStroke();
  else return;
  event.preventDefault();
}

const keyUp = (event) => event.key === " " && (isSpaceDown.value = false);

/** The handlers of the stage. */
export const stageHandlers = {
  down, move, up, cancel, keyDown, keyUp,
  leave: () => (hover.value = null),
  blur: () => (isSpaceDown.value = false),
  wheel: { handleEvent: wheel, passive: false },
};

/** Resets the tools for another picture. */
export function resetTools() {
  pointers.clear();
  stroke = null;
  outline.value = null;
  isDrawing.value = false;
  hover.value = null;
  isSpaceDown.value = false;
  fitToView();
}

/** Follows the size of the stage. @param {HTMLElement} element @returns {() => void} ends it */
export function observeStage(element) {
  const observer = new ResizeObserver(() => (stageSize.value = { width: element.clientWidth, height: element.clientHeight }));
  observer.observe(element);
  return () => observer.disconnect();
}

export const zoomPercent = () => Math.round(viewport.value.zoom * 100);
