// The viewport of the stage: the picture fits into it, then is panned and zoomed.

import { computed, signal } from "../core/render.js";
import { choices } from "./draft.js";
import { planCanvas } from "./canvas-plan.js";
import { picture } from "../edit/picture.js";

const MARGIN = 24;
const MAX_ZOOM = 16;
const MIN_ZOOM = 0.25;

/** Width and height of the stage in CSS pixels. */
export const stageSize = signal({ width: 0, height: 0 });
/** `zoom` 1 is the whole picture; x and y move it, in CSS pixels. */
export const viewport = signal({ zoom: 1, x: 0, y: 0 });
/** The result that is shown instead of the mask: `{width, height}` and more, or null. */
export const shownResult = signal(null);

/** Whether a stroke or an outline is being drawn. */
export const isDrawing = signal(false);

/** What the stage shows, in pixels of the picture: the size of it all, and the place of the picture in it. */
export const canvasPlan = computed(() => {
  const { extend, mode } = choices.value;
  const size = picture.value;
  return mode === "extend" && extend ? planCanvas(extend, size) : { width: size.width, height: size.height, left: 0, top: 0, picture: [size.width, size.height] };
});

/** CSS pixels of the stage: left, top, width and height of all that is shown, at any zoom. */
export const frame = computed(() => {
  const { width, height } = shownResult.value ?? canvasPlan.value;
  const stage = stageSize.value;
  const { zoom, x, y } = viewport.value;
  const fit = Math.max(0.001, Math.min((stage.width - 2 * MARGIN) / width, (stage.height - 2 * MARGIN) / height)) * zoom;
  return { left: (stage.width - width * fit) / 2 + x, top: (stage.height - height * fit) / 2 + y, width: width * fit, height: height * fit };
});

/** Zooms around a point of the stage, in CSS pixels from its corner; around the centre without one. */
export function zoomBy(factor, point = null) {
  const { zoom, x, y } = viewport.peek();
  const next = Math.min(MAX_ZOOM, Math.max(MIN_ZOOM, zoom * factor));
  const { width, height } = stageSize.peek();
  const [fromX, fromY] = point ? [point.x - width / 2, point.y - height / 2] : [0, 0];
  const ratio = next / zoom;
  viewport.value = { zoom: next, x: fromX + (x - fromX) * ratio, y: fromY + (y - fromY) * ratio };
}

export const moveBy = (dx, dy) => {
  const { zoom, x, y } = viewport.peek();
  viewport.value = { zoom, x: x + dx, y: y + dy };
};

export const fitToView = () => (viewport.value = { zoom: 1, x: 0, y: 0 });
