// A prompt of several combinations is priced and confirmed before it is sent.

import { html, runOnSignals } from "../core/render.js";
import { t } from "../core/text.js";
import { announce } from "../core/toast.js";
import { focusPrompt } from "../create/prompt-field.js";
import { body, pendingQuote, send } from "../create/request.js";
import { costText } from "./facts.js";

async function confirmQuote() {
  const { body: wanted, quote } = pendingQuote.peek();
  pendingQuote.value = null;
  await send({ ...wanted, quote });
}

function cancel() {
  pendingQuote.value = null;
  focusPrompt();
}

function textOf(pending) {
  const facts = costText(pending);
  return pending.body.command === "grid" ? t("This grid makes {facts}.", { facts }) : t("This prompt makes {facts}.", { facts });
}

let announced = null;

/** A draft that was changed meanwhile has another price, and makes something else. */
runOnSignals(() => {
  const pending = pendingQuote.value;
  if (!pending) return;
  if (JSON.stringify(body.value) !== JSON.stringify(pending.body)) pendingQuote.value = null;
  else if (pending !== announced) announce(textOf((announced = pending)));
});

/** Shown while `pendingQuote` waits. */
export const confirmView = () => html`
  <div class="extras-confirm row" role="group" aria-label=${t("Confirmation")}>
    <p>${textOf(pendingQuote.value)}</p>
    <button type="button" class="primary" @click=${confirmQuote}>${t("Generate all")}</button>
    <button type="button" @click=${cancel}>${t("Not now")}</button>
  </div>`;
