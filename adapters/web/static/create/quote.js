// Price and waiting time of the draft, requested after a pause in typing. An outdated request is aborted.

import { post } from "../core/api.js";
import { connection } from "../core/connection.js";
import { runOnSignals, signal } from "../core/render.js";
import { models } from "../core/store.js";
import { body, missing } from "./request.js";

const PAUSE_MS = 400;

/** The answer of POST /quotes for the draft as it is, or null. */
export const quote = signal(null);
/** Whether an answer is awaited. */
export const isPricing = signal(false);

/** Prices the draft from now on. @returns {() => void} ends it */
export function startPricing() {
  let timer = null;
  let asked = null;
  let lastKey = null;
  const cancel = () => {
    clearTimeout(timer);
    asked?.abort();
    asked = null;
  };
  const stop = runOnSignals(() => {
    const canPrice = !missing.value && connection.value === "online" && models.value.length && body.value;
    const key = canPrice ? JSON.stringify(body.value) : null;
    if (key === lastKey) return;
    lastKey = key;
    cancel();
    isPricing.value = Boolean(key);
    if (!key) quote.value = null;
    else timer = setTimeout(() => void ask((asked = new AbortController()), key), PAUSE_MS);
  });
  return () => {
    stop();
    cancel();
  };
}

async function ask(controller, key) {
  try {
    const answer = await post("/quotes", JSON.parse(key), { signal: controller.signal });
    if (!controller.signal.aborted) quote.value = answer;
  } catch {
    if (!controller.signal.aborted) quote.value = null; // sending it tells why it is refused
  } finally {
    if (!controller.signal.aborted) isPricing.value = false;
  }
}
