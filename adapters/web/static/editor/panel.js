// The panel beside the stage: prompt, options, price and progress.

import { html, ifDefined, live, nothing, SignalView } from "../core/render.js";
import { icon } from "../core/icons.js";
import { fieldError } from "../core/states.js";
import { isFinished, quota, storeError } from "../core/store.js";
import { formatNumber, formatSeconds, t } from "../core/text.js";
import { chosenModel, fittingModels, followsInstructions, isKnown } from "./ability.js";
import { EXTENSIONS, findExtension, isPossible } from "./canvas-plan.js";
import { choices, choose, words } from "./draft.js";
import { share } from "./mask.js";
import { maskPanel } from "./mask-panel.js";
import { picture } from "../edit/picture.js";
import { cancelRun, failedJobs, lastJobs, runJobs, runningJob, showResult } from "./results.js";
import { isSending, missing, priceText, quote, quoteProblem, refusal, sendDraft } from "./request.js";
import { setExtension } from "./stage.js";

const MAX_SEED = 4294967295;
const MAX_WORDS = 2000;
const [EXTENDING_STRENGTH, DEMO_STRENGTH] = [0.8, 0.5];
const COUNTS = [1, 2, 3, 4];

/** A sentence on what will be repainted. */
export function maskText() {
  const { extend, mode } = choices.value;
  if (mode === "extend") return findExtension(extend)?.says() ?? t("Drag a handle outwards or choose an option below.");
  const part = share.value * 100;
  if (!part) return followsInstructions.value ? t("Nothing selected. The whole picture may change.") : t("Nothing selected. Paint over the part to change.");
  return part < 0.5 ? t("Less than 1 % of the picture will be repainted.") : t("{n} % of the picture will be repainted.", { n: Math.round(part) });
}

function setMode(mode) {
  showResult(null);
  choose({ mode });
}

const modesView = () => html`
  <fieldset class="segments edit-modes">
    <legend class="visually-hidden">${t("What to do")}</legend>
    ${[["repaint", t("Repaint a part")], ["extend", t("Extend the picture")]].map(([mode, label]) => html`
      <label><input type="radio" name="edit-mode" .checked=${choices.value.mode === mode} @change=${() => setMode(mode)}><span>${label}</span></label>`)}
  </fieldset>`;

const extensionsView = () => html`
  <fieldset class="edit-extensions">
    <legend>${t("How to extend the picture")}</legend>
    <div class="row">${EXTENSIONS.map((one) => {
      const isChosen = findExtension(choices.value.extend) === one;
      return html`<button type="button" class="chip" aria-pressed=${isChosen} ?disabled=${!isPossible(one, picture.value)} @click=${() => setExtension(isChosen ? null : one)}>${one.label()}</button>`;
    })}</div>
  </fieldset>`;

function wordsLabel() {
  if (choices.value.mode === "extend") return t("Describe the whole picture (optional)");
  return followsInstructions.value ? t("What to change") : t("What should be there");
}

function wordsHint() {
  const model = chosenModel.value?.name ?? "";
  if (choices.value.mode === "extend") return t("If left empty, the picture is captioned automatically.");
  return followsInstructions.value
    ? t("{model} follows instructions, such as “make the sky red”.", { model })
    : t("{model} does not follow instructions. Describe the finished picture, such as “a house under a red sky”.", { model });
}

const wordsView = () => html`
  <div class="field">
    <label for="edit-words">${wordsLabel()}</label>
    <textarea id="edit-words" rows="3" maxlength=${MAX_WORDS} .value=${live(words.value)} aria-describedby="edit-words-hint"
      aria-invalid=${ifDefined(refusal.value?.option === "prompt" ? "true" : undefined)} @input=${(event) => (words.value = event.target.value)}></textarea>
    <span class="hint" id="edit-words-hint">${wordsHint()}</span>
  </div>`;

function strengthView() {
  if (followsInstructions.value) return nothing;
  const usual = choices.value.mode === "repaint" ? 1 : chosenModel.value?.demo ? DEMO_STRENGTH : EXTENDING_STRENGTH;
  const value = choices.value.strength ?? usual;
  return html`
    <div class="field">
      <label for="edit-strength">${t("Denoising strength")}</label>
      <div class="edit-range">
        <input id="edit-strength" type="range" min="0.05" max="1" step="0.05" .value=${live(String(value))} @input=${(event) => choose({ strength: Number(event.target.value) })}>
        <output class="number" for="edit-strength">${formatNumber(value)}</output>
      </div>
    </div>`;
}

const areaView = () => (choices.value.mode === "extend" ? nothing : html`
  <div class="field">
    <label for="edit-area">${t("Inpaint area")}</label>
    <select id="edit-area" @change=${(event) => choose({ area: event.target.value })}>
      ${[["", t("Masked part, enlarged")], ["whole", t("Whole picture, at the model's size")]].map(([value, label]) => html`<option value=${value} .selected=${choices.value.area === value}>${label}</option>`)}
    </select>
  </div>`);

const modelView = () => html`
  <div class="field">
    <label for="edit-model">${t("Model")}</label>
    <select id="edit-model" @change=${(event) => choose({ model: event.target.value })}>
      ${fittingModels.value.map((one) => html`<option value=${one.name} .selected=${one === chosenModel.value}>${one.demo ? t("{model} (demo)", { model: one.name }) : one.name}</option>`)}
    </select>
  </div>`;

function takeSeed(event) {
  const text = event.target.value.trim();
  const seed = Math.round(Number(text));
  choose({ seed: text === "" || !(seed >= 0 && seed <= MAX_SEED) ? null : seed });
}

const numbersView = () => html`
  <div class="edit-pair">
    <div class="field">
      <label for="edit-count">${t("Number of pictures")}</label>
      <select id="edit-count" @change=${(event) => choose({ count: Number(event.target.value) })}>
        ${COUNTS.map((n) => html`<option value=${n} .selected=${choices.value.count === n}>${n}</option>`)}
      </select>
    </div>
    <div class="field">
      <label for="edit-seed">${t("Seed")}</label>
      <input id="edit-seed" type="number" min="0" max=${MAX_SEED} step="1" inputmode="numeric" placeholder=${t("random")} .value=${live(String(choices.value.seed ?? ""))} @change=${takeSeed}>
    </div>
  </div>`;

function progressSentence(job) {
  if (job.cancel_requested) return t("Cancelling…");
  const left = formatSeconds(job.eta_s);
  if (job.state === "queued") return [job.position ? t("Queued at position {position}", { position: job.position }) : t("Queued"), left].filter(Boolean).join(" · ");
  const { phase = "waiting", step = 0, steps = 0 } = job.progress ?? {};
  if (phase === "loading") return left ? t("Loading the model · {left} left", { left }) : t("Loading the model…");
  if (phase === "finishing") return t("Finishing…");
  if (!steps || phase === "waiting") return t("Starting…");
  return left ? t("Step {step} of {steps} · {left} left", { step, steps, left }) : t("Step {step} of {steps}", { step, steps });
}

function runningView() {
  const job = runningJob.value;
  if (!job) return nothing;
  const { phase, step, steps } = job.progress ?? {};
  return html`
    <div class="edit-progress" data-job=${job.id} data-state=${job.state}>
      <p class="number">${progressSentence(job)}</p>
      <progress aria-label=${t("Progress")} max="1" value=${ifDefined(steps && phase === "running" ? step / steps : undefined)}></progress>
      <button type="button" ?disabled=${Boolean(job.cancel_requested)} @click=${cancelRun}>${icon("close")}${t("Cancel")}</button>
    </div>`;
}

function priceView() {
  const { limit, used = 0, reserved = 0 } = quota.value ?? {};
  const isTooMuch = quote.value && limit !== null && limit !== undefined && quote.value.cost > limit - used - reserved;
  return html`
    <p class="hint number edit-price" id="edit-price">${priceText() || (missing.value ? missing.value.message : t("Ctrl+Enter to send"))}</p>
    ${isTooMuch ? html`<p class="error">${icon("alert")}<span>${t("Exceeds what is left of today's quota")}</span></p>` : nothing}
    ${quoteProblem.value && !refusal.value ? fieldError(quoteProblem.value) : nothing}`;
}

function failuresView() {
  const wasCancelled = lastJobs.value.length > 0 && lastJobs.value.every((job) => job.state === "cancelled");
  return html`
    ${failedJobs.value.map((job) => fieldError([job.error?.message ?? t("This job produced no picture."), job.error?.incident ? t("Incident {code}", { code: job.error.incident }) : ""].filter(Boolean).join(" ")))}
    ${wasCancelled ? html`<p class="hint" role="status">${t("Cancelled. Your mask and prompt are unchanged.")}</p>` : nothing}`;
}

const runView = () => html`
  <div class="edit-run">
    ${SignalView(failuresView)}
    ${refusal.value ? fieldError(refusal.value.message) : nothing}
    ${priceView()}
    ${runningJob.value ? SignalView(runningView) : html`
      <button type="submit" class="primary edit-send" aria-describedby="edit-price" aria-disabled=${isSending.value ? "true" : "false"}>
        ${isSending.value ? html`<span class="spinner" aria-hidden="true"></span>` : nothing}${choices.value.mode === "extend" ? t("Extend") : t("Repaint")}
      </button>`}
  </div>`;

const submit = (event) => {
  event.preventDefault();
  if (!runJobs.peek().some((job) => !isFinished(job))) void sendDraft();
};

function noModelView() {
  if (storeError.value) return fieldError(storeError.value.message);
  return isKnown.value && !fittingModels.value.length ? html`<p class="error" role="alert">${icon("alert")}<span>${t("No installed model repaints pictures. The owner can add one.")}</span></p>` : nothing;
}

export const panelView = () => html`
  <form class="edit-panel" novalidate @submit=${submit} aria-label=${t("What to do")}>
    ${SignalView(modesView)}
    <p class="edit-mask-text number" role="status">${SignalView(maskText)}</p>
    ${SignalView(() => (choices.value.mode === "extend" ? extensionsView() : nothing))}
    ${SignalView(noModelView)}
    ${SignalView(wordsView)}
    ${SignalView(() => (choices.value.mode === "extend" ? nothing : maskPanel()))}
    <details class="edit-more">
      <summary>${t("Options")}</summary>
      ${SignalView(modelView)}${SignalView(strengthView)}${SignalView(areaView)}${SignalView(numbersView)}
    </details>
    ${SignalView(runView)}
  </form>`;
