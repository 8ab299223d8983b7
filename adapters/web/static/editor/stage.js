// The stage: the picture with the mask over it, the handles that extend it, or the result beside it.

import { mediaUrl } from "../core/api.js";
import { html, nothing, ref, runOnSignals, signal, svg } from "../core/render.js";
import { t } from "../core/text.js";
import { announce } from "../core/toast.js";
import { EXTENSIONS, findComputedBox, findExtension, isPossible, planCanvas } from "./canvas-plan.js";
import { choices, choose } from "./draft.js";
import { bounds, feather, maskCanvas } from "./mask.js";
import { picture } from "../edit/picture.js";
import { divider, isAhead, isBlurred, reveal, runningJob } from "./results.js";
import { boxOf, hover, maskOpacity, isPanning, observeStage, outline, ringSize, stageHandlers, tool } from "./tools.js";
import { canvasPlan, frame, isDrawing, shownResult, stageSize } from "./viewport.js";

const DRAG_FROM = 24;
const PREVIEW_SIDE = 512;

const previewCanvas = document.createElement("canvas");
previewCanvas.className = "edit-preview";

/** The id of the result whose picture has loaded; until then, the original is shown. */
const loadedResult = signal(null);
let stopObserving = null;
const followStage = (element) => {
  stopObserving?.();
  stopObserving = element ? observeStage(element) : null;
};

/** For the property `style`: an attribute of that name is against the page's Content-Security-Policy. */
const join = (styles) => Object.entries(styles).map(([name, value]) => `${name}: ${value}`).join("; ");
const percent = (value, whole) => `${(100 * value) / whole}%`;
/** @param {{width: number, height: number}} whole @param {{left: number, top: number, picture: number[]}} place */
const placeIn = (whole, { left, top, picture: [width, height] }) => ({
  left: percent(left, whole.width), top: percent(top, whole.height), width: percent(width, whole.width), height: percent(height, whole.height),
});
const pixels = ({ left, top, width, height }) => ({ left: `${left}px`, top: `${top}px`, width: `${width}px`, height: `${height}px` });

/** Shows live previews in place from now on. @returns {() => void} ends it */
export const startPreview = () => runOnSignals(() => {
  const job = runningJob.value;
  previewCanvas.hidden = !job?.preview;
  if (job?.preview) void drawPreview(job).catch(() => (previewCanvas.hidden = true));
});

async function drawPreview({ preview, options, command }) {
  const image = Object.assign(new Image(), { src: preview });
  await image.decode();
  const { width, height } = canvasPlan.peek();
  const scale = PREVIEW_SIDE / Math.max(width, height);
  Object.assign(previewCanvas, { width: Math.max(1, Math.round(width * scale)), height: Math.max(1, Math.round(height * scale)) });
  const context = previewCanvas.getContext("2d");
  const isPart = command === "imagine" && options.inpaint_area !== "whole" && bounds.peek() && options.width;
  const toPicture = width / maskCanvas.width;
  const box = isPart ? findComputedBox(bounds.peek().map((value) => value * toPicture), [width, height], [options.width, options.height]) : [0, 0, width, height];
  const [left, top, wide, high] = box.map((value) => value * scale);
  context.drawImage(image, left, top, wide, high);
  context.globalCompositeOperation = "destination-in";
  if (choices.peek().mode === "repaint" && bounds.peek()) context.drawImage(maskCanvas, 0, 0, previewCanvas.width, previewCanvas.height);
}

function outlineView() {
  if (!outline.value) return nothing;
  const { kind, points } = outline.value;
  const [left, top, width, height] = boxOf(points);
  const shape = kind === "rectangle" ? svg`<rect x=${left} y=${top} width=${width} height=${height}/>` : svg`<polygon points=${points.join(" ")}/>`;
  return html`<svg class="edit-outline" viewBox=${`0 0 ${maskCanvas.width} ${maskCanvas.height}`} preserveAspectRatio="none" aria-hidden="true">${shape}</svg>`;
}

function maskView(plan) {
  const { mode } = choices.value;
  const isHidden = mode === "extend" || (Boolean(runningJob.value?.preview) && !isAhead.value && !isDrawing.value);
  const soft = (feather.value * frame.value.width) / maskCanvas.width;
  return html`
    <div class="edit-mask-place" .style=${join({ ...placeIn(plan, plan), opacity: isHidden ? "0" : String(maskOpacity.value) })}>
      <div class="edit-whole" .style=${soft > 0.5 ? `filter: blur(${soft / 2}px)` : ""}>${maskCanvas}</div></div>
    ${mode === "extend" ? nothing : outlineView()}`;
}

function paintView() {
  const plan = canvasPlan.value;
  const isExtended = choices.value.mode === "extend";
  return html`
    <div class="edit-frame ${isExtended ? "edit-frame-extended" : ""}" .style=${join(pixels(frame.value))}>
      ${isExtended ? previewCanvas : nothing}
      <img class="edit-picture" .style=${join(placeIn(plan, plan))} src=${mediaUrl(picture.value.id, 1024)} alt=${t("Picture being edited")} draggable="false">
      ${maskView(plan)}
      ${isExtended ? handlesView(plan) : previewCanvas}
    </div>
    ${ringView()}`;
}

function ringView() {
  if (!hover.value || isPanning.value || !["brush", "eraser"].includes(tool.value)) return nothing;
  const size = ringSize();
  return html`<div class="edit-ring" .style=${join({ width: `${size}px`, height: `${size}px`, left: `${hover.value.x}px`, top: `${hover.value.y}px` })}></div>`;
}

function handlesView(plan) {
  return html`<div class="edit-handles" .style=${join(placeIn(plan, plan))}>
    ${EXTENSIONS.filter((one) => one.command === "pan" && isPossible(one, picture.value)).map((one) => {
      const { direction } = one.options;
      const isChosen = findExtension(choices.value.extend) === one;
      return html`<button type="button" class="edit-handle edit-handle-${direction}" aria-pressed=${isChosen} aria-label=${t("Extend: {where}", { where: one.label() })} title=${one.label()}
        @pointerdown=${startDrag} @pointermove=${(event) => drag(event, one)} @pointerup=${endDrag} @pointercancel=${endDrag} @click=${(event) => click(event, one)}><span aria-hidden="true"></span></button>`;
    })}</div>`;
}

let dragged = null;

function startDrag(event) {
  dragged = { x: event.clientX, y: event.clientY, hasMoved: false };
  event.currentTarget.setPointerCapture(event.pointerId);
}

function drag(event, extension) {
  if (!dragged) return;
  const [dx, dy] = [event.clientX - dragged.x, event.clientY - dragged.y];
  const outwards = { left: -dx, right: dx, up: -dy, down: dy }[extension.options.direction];
  if (Math.abs(outwards) < DRAG_FROM) return;
  dragged.hasMoved = true;
  setExtension(outwards > 0 ? extension : null);
}

const endDrag = () => dragged && setTimeout(() => (dragged = null));

function click(_event, extension) {
  if (dragged?.hasMoved) return;
  setExtension(findExtension(choices.peek().extend) === extension ? null : extension);
}

/** @param {object | null} extension one of EXTENSIONS */
export function setExtension(extension) {
  if (findExtension(choices.peek().extend) === (extension ?? undefined)) return;
  choose({ extend: extension && { command: extension.command, options: extension.options } });
  if (extension) announce(extension.says());
}

/** The original picture, at its place on the extended canvas. */
function beforePlace(result) {
  const { width, height } = picture.value;
  const isExtended = ["zoom", "pan", "square"].includes(result.command);
  const plan = isExtended ? planCanvas(result, picture.value) : { left: 0, top: 0, width, height, picture: [width, height] };
  return { plan, place: placeIn(plan, plan) };
}

function compareView(result) {
  const { plan, place } = beforePlace(result);
  const shown = (divider.value / 100) * plan.width;
  const isLoaded = loadedResult.value === result.id;
  const cut = !isLoaded ? 100 : Math.min(100, Math.max(0, (100 * (shown - plan.left)) / plan.picture[0]));
  return html`
    <div class="edit-frame" .style=${join(pixels(frame.value))}>
      <img class="edit-picture edit-whole ${isBlurred(result) ? "edit-blurred" : ""}" src=${mediaUrl(result.id, 1024)} alt=${result.alt || t("Result")} draggable="false" @load=${() => (loadedResult.value = result.id)}>
      <img class="edit-picture" .style=${join({ ...place, "clip-path": `inset(0 ${100 - cut}% 0 0)` })} src=${mediaUrl(picture.value.id, 1024)} alt=${t("Original picture")} draggable="false">
      <input type="range" class="edit-divider" min="0" max="100" step="1" .value=${String(divider.value)} aria-label=${t("Before and after")}
        aria-valuetext=${t("{n} % before, {rest} % after", { n: divider.value, rest: 100 - divider.value })} @input=${(event) => (divider.value = Number(event.target.value))}>
      <div class="edit-divider-line" ?hidden=${!isLoaded} .style=${join({ left: `${divider.value}%` })} aria-hidden="true"></div>
      ${isBlurred(result) ? html`<button type="button" class="edit-reveal" @click=${() => reveal(result)}>${t("Show this picture")}</button>` : nothing}
      <span class="edit-side edit-side-before" aria-hidden="true" ?hidden=${divider.value < 12}>${t("Before")}</span>
      <span class="edit-side edit-side-after" aria-hidden="true" ?hidden=${divider.value > 88}>${t("After")}</span>
    </div>`;
}

export const stageView = () => html`
  <div class="edit-stage ${isPanning.value ? "edit-moves" : ""}" ${ref(followStage)} tabindex="0" .style=${`--edit-ratio: ${picture.value.height / picture.value.width}`} role="application" aria-roledescription=${t("painting area")}
    aria-label=${t("Picture and mask")} aria-describedby="edit-stage-keys"
    @pointerdown=${stageHandlers.down} @pointermove=${stageHandlers.move} @pointerup=${stageHandlers.up} @pointercancel=${stageHandlers.cancel} @lostpointercapture=${stageHandlers.cancel}
    @pointerleave=${stageHandlers.leave} @wheel=${stageHandlers.wheel} @keydown=${stageHandlers.keyDown} @keyup=${stageHandlers.keyUp} @blur=${stageHandlers.blur}>
    ${!stageSize.value.width ? nothing : shownResult.value ? compareView(shownResult.value) : paintView()}
  </div>
  <p id="edit-stage-keys" class="visually-hidden">${t("Arrow keys move the picture, plus and minus zoom. Without a pointer, use the panel to select a part by words, by coordinates or with a mask file.")}</p>`;
