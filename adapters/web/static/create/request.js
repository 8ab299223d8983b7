// The request of the draft: validation, submission, refusals.

import { post } from "../core/api.js";
import { connection } from "../core/connection.js";
import { fetchJob } from "../core/events.js";
import { computed, runOnSignals, signal } from "../core/render.js";
import { jobSignal, refreshQuota, storeError } from "../core/store.js";
import { navigate } from "../core/router.js";
import { announce } from "../core/toast.js";
import { t } from "../core/text.js";
import { canName, command, activeOptions, hasPhoto, mainOption, needsPart, usedPhotos } from "./capabilities.js";
import { followed, gridAxes, mode, prompt, rememberPrompt } from "./draft.js";

const COMBINATIONS = /\{[^{}]*\|[^{}]*\}/;

/** Why the last request was refused: `{message, code, option}`, or null. */
export const refusal = signal(null);
/** A prompt of several combinations that waits for a confirmation: `{body, jobs, cost, eta_s, quote}`, or null. */
export const pendingQuote = signal(null);
const inFlight = new Set();
/** Whether something is being sent. */
export const isSending = signal(false);

/** @param {object | null} problem */
export const setRefusal = (problem) => (refusal.value = problem && { message: problem.message, code: problem.code ?? "", option: problem.option ?? null });

const imageBody = ({ id, role, kind, weight, start, end, ready }) => ({
  id,
  role,
  ...(["control", "reference"].includes(role) && { kind, weight }),
  ...(role === "control" && { start, end, ready }),
});

/** The answer that a question about these photos follows up on, as part of a body. */
function parentOf(images) {
  const earlier = mode.value === "ask" && jobSignal(followed.value)?.value.images.map((image) => image.id).join();
  return earlier && earlier === images.map((image) => image.id).join() ? { parent: followed.value } : {};
}

/** With the axes of a grid; what they change is not the same for all cells. */
function withAxes(options) {
  const axes = gridAxes.value ?? [];
  const same = Object.entries(options).filter(([name]) => !axes.some(({ option }) => option === name));
  return Object.fromEntries([...same, ...axes.map((axis, place) => ["xyz"[place], axis])]);
}

/** The body of POST /jobs and POST /quotes, or null before the commands are known. */
export const body = computed(() => {
  if (!command.value || !mainOption.value) return null;
  return {
    command: gridAxes.value ? "grid" : command.value.name,
    options: { [mainOption.value.name]: prompt.value, ...withAxes(activeOptions.value) },
    images: usedPhotos.value.map(imageBody),
    ...parentOf(usedPhotos.value),
  };
});

/** What is missing: `{message, option}`, or null. */
export const missing = computed(() => {
  if (mode.value === "edit" && !hasPhoto.value) return { message: t("Add a photo to edit: drop, paste or choose one."), option: "images" };
  if (mode.value === "ask" && !hasPhoto.value) return { message: t("Add a photo to ask about: drop, paste or choose one."), option: "images" };
  if (!prompt.value.trim()) return { message: mode.value === "ask" ? t("Type a question first.") : t("Type a prompt first."), option: mainOption.value?.name };
  const hasPart = activeOptions.value.region || usedPhotos.value.some((photo) => photo.role === "mask");
  const empty = gridAxes.value?.findIndex(({ values }) => !values.trim());
  if (empty >= 0) return { message: t("Give each axis of the grid its values."), option: "xyz"[empty] };
  if (needsPart.value && !hasPart) {
    const byWords = t("This model repaints part of a photo. Name the part, such as “the sky”, or add a mask.");
    return { message: canName.value ? byWords : t("This model repaints part of a photo. Add a mask."), option: "region" };
  }
  return null;
});

/** Delays sending until the commands are loaded. @returns {Promise<boolean>} whether they are, for the first caller */
async function waitForCommands() {
  if (isSending.peek()) return false;
  isSending.value = true;
  await new Promise((resolve) => {
    const stop = runOnSignals(() => (body.value || storeError.value) && queueMicrotask(() => { stop(); resolve(); }));
  });
  isSending.value = false;
  if (!body.peek()) setRefusal(storeError.peek());
  return Boolean(body.peek());
}

/** Sends the draft. Prompts of several combinations are priced and confirmed first. @returns {Promise<boolean>} */
export async function sendDraft() {
  if (!body.peek() && !(await waitForCommands())) return false;
  if (missing.peek()) {
    setRefusal(missing.peek());
    announce(missing.peek().message);
    return false;
  }
  const wanted = body.peek();
  const text = prompt.peek();
  const isSent = wanted.command === "grid" || (COMBINATIONS.test(text) && mode.peek() !== "ask") ? await once(wanted, () => askForPrice(wanted)) : await send(wanted);
  if (isSent) rememberPrompt(text);
  if (isSent && mode.peek() === "ask" && prompt.peek() === text) prompt.value = "";
  return isSent;
}

async function askForPrice(wanted) {
  pendingQuote.value = { body: wanted, ...(await post("/quotes", wanted)) };
}

/** Sends one request; its jobs appear in the store. @param {object} wanted a body of POST /jobs */
export const send = (wanted) => once(wanted, async () => {
  const accepted = await post("/jobs", wanted);
  announce(accepted.position ? t("Queued at position {position}.", { position: accepted.position }) : t("Accepted."));
  if (wanted.command === "grid") return void navigate(`/grid/${accepted.batch}`);
  if (wanted.command === "ask") followed.value = accepted.id;
  await Promise.all((accepted.jobs ?? [accepted]).map(({ id }) => fetchJob(id)));
  void refreshQuota();
});

/** A second click while the same request is being sent is ignored. */
async function once(wanted, work) {
  const key = JSON.stringify(wanted);
  if (inFlight.has(key)) return false;
  inFlight.add(key);
  isSending.value = true;
  setRefusal(null);
  try {
    await work();
    return true;
  } catch (error) {
    pendingQuote.value = null;
    setRefusal(error);
    return false;
  } finally {
    inFlight.delete(key);
    isSending.value = inFlight.size > 0;
  }
}

/** Clears an "offline" refusal once the server is back. */
export function clearStaleRefusal() {
  if (connection.value === "online" && refusal.peek()?.code === "offline") setRefusal(null);
}
