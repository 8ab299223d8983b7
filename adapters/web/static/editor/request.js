// The request of the draft: validation, price, submission.

import { post } from "../core/api.js";
import { connection } from "../core/connection.js";
import { confirmDialog } from "../core/dialog.js";
import { fetchJob } from "../core/events.js";
import { computed, runOnSignals, signal } from "../core/render.js";
import { jobs, refreshQuota } from "../core/store.js";
import { formatNumber, formatSeconds, t, tn } from "../core/text.js";
import { announce } from "../core/toast.js";
import { chosenModel, fittingModels, followsInstructions, isKnown } from "./ability.js";
import { addJobs, choices, operations, words } from "./draft.js";
import { measureNow, share, uploadMask } from "./mask.js";
import { picture } from "../edit/picture.js";
import { showStage } from "./results.js";

const PAUSE_MS = 400;
const FROM_NOISE = 1;
const COMBINATIONS = /\{[^{}]*\|[^{}]*\}/;

/** The answer of POST /quotes for the draft as it is, or null. */
export const quote = signal(null);
/** Why the server refuses to price the draft: a sentence, or "". */
export const quoteProblem = signal("");
/** Why the last request was refused: `{message, option}`, or null. */
export const refusal = signal(null);
export const isSending = signal(false);

/** What is missing: `{message, option}`, or null. */
export const missing = computed(() => {
  const { mode, extend } = choices.value;
  if (!chosenModel.value) return { message: t("No installed model can do this. The owner can add one."), option: "model" };
  if (mode === "extend") return extend ? null : { message: t("Choose how to extend the picture."), option: "extend" };
  if (!share.value && !followsInstructions.value) return { message: t("Paint over the part to change."), option: "mask" };
  if (words.value.trim()) return null;
  return { message: followsInstructions.value ? t("Describe what should change.") : t("Describe what should be there."), option: "prompt" };
});

const commandName = () => (choices.value.mode === "extend" ? (choices.value.extend?.command ?? "zoom") : followsInstructions.value ? "edit" : "imagine");

function collectOptions(hasMask) {
  const { mode, extend, strength, area, count, seed, model } = choices.value;
  const isExtension = mode === "extend";
  return {
    ...((words.value.trim() || !isExtension) && { prompt: words.value }),
    ...(isExtension && extend?.options),
    ...(strength !== null && !followsInstructions.value && { strength }),
    ...(area && hasMask && { inpaint_area: area }),
    ...(count > 1 && { count }),
    ...(seed !== null && { seed }),
    ...(fittingModels.value.some((one) => one.name === model) && { model }),
  };
}

/** The job that made the picture, if the page knows it. */
const findParent = () => [...jobs.peek().values()].map((one) => one.peek()).find((job) => job.result?.media.some((media) => media?.id === picture.value.id))?.id;

/** The body of POST /jobs. @param {string | null} maskId */
function buildBody(maskId) {
  const init = { id: picture.value.id, role: "init" };
  const parent = findParent();
  return { ...(parent && { parent }), command: commandName(), options: collectOptions(Boolean(maskId)), images: maskId ? [init, { id: maskId, role: "mask" }] : [init] };
}

/** The same price without a mask, which is not stored before it is needed: what is repainted starts from noise. */
function buildPricedBody() {
  const body = buildBody(null);
  if (body.command === "imagine") body.options.strength ??= FROM_NOISE;
  return body;
}

/** Prices the draft from now on. @returns {() => void} ends it */
export function startPricing() {
  let timer = null;
  let asked = null;
  let lastKey = null;
  const stop = runOnSignals(() => {
    const canPrice = isKnown.value && picture.value && connection.value === "online" && !missing.value;
    const key = canPrice ? JSON.stringify(buildPricedBody()) : null;
    if (key === lastKey) return;
    lastKey = key;
    clearTimeout(timer);
    asked?.abort();
    quoteProblem.value = "";
    quote.value = null;
    if (key) timer = setTimeout(() => void ask((asked = new AbortController()).signal, key), PAUSE_MS);
  });
  const stopForgetting = forgetRefusals();
  return () => {
    clearTimeout(timer);
    asked?.abort();
    stop();
    stopForgetting();
  };
}

/** A changed draft clears the refusal. */
function forgetRefusals() {
  let before = null;
  return runOnSignals(() => {
    const now = [words.value, choices.value, operations.value];
    if (before && now.some((value, index) => value !== before[index])) refusal.value = null;
    before = now;
  });
}

async function ask(signal, key) {
  try {
    const answer = await post("/quotes", JSON.parse(key), { signal });
    if (!signal.aborted) quote.value = answer;
  } catch (error) {
    if (!signal.aborted && error.status) quoteProblem.value = error.message;
  }
}

/** What the draft costs, and how long it takes; "" before it is known. */
export function priceText() {
  if (!quote.value) return "";
  const { jobs, cost, eta_s: eta } = quote.value;
  const price = cost ? t("{cost} device-seconds", { cost: formatNumber(Math.round(cost * 10) / 10) }) : t("free");
  return [jobs > 1 ? tn(jobs, "{n} job", "{n} jobs") : "", price, formatSeconds(eta)].filter(Boolean).join(" · ");
}

/** Sends the draft. A second press while it is being sent is ignored. */
export async function sendDraft() {
  if (isSending.peek()) return;
  measureNow();
  refusal.value = missing.peek();
  if (refusal.peek()) return;
  isSending.value = true;
  try {
    await send(choices.peek().mode === "repaint" && share.peek() > 0);
  } catch (error) {
    refusal.value = { message: error.message, option: error.option ?? null };
  } finally {
    isSending.value = false;
  }
}

async function send(hasMask) {
  const body = buildBody(hasMask ? await uploadMask(picture.peek().id) : null);
  if (COMBINATIONS.test(body.options.prompt ?? "") && !(await confirmPrice(body))) return;
  const accepted = await post("/jobs", body);
  const ids = (accepted.jobs ?? [accepted]).map(({ id }) => id);
  addJobs(ids);
  showStage();
  announce(accepted.position ? t("Queued at position {position}.", { position: accepted.position }) : t("Accepted."));
  await Promise.all(ids.map(fetchJob));
  void refreshQuota();
}

/** A prompt of several combinations makes several jobs: asks first. Whether it was confirmed. */
async function confirmPrice(body) {
  quote.value = await post("/quotes", body);
  body.quote = quote.peek().quote;
  return confirmDialog({ title: t("Generate several pictures"), text: t("This prompt makes {facts}.", { facts: priceText() }), confirm: t("Generate all") });
}
