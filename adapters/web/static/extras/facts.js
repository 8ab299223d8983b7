// Price, waiting time and token count of the draft.

import { html, nothing } from "../core/render.js";
import { quota } from "../core/store.js";
import { formatNumber, formatSeconds, t, tn } from "../core/text.js";
import { mainOption } from "../create/capabilities.js";
import { prompt } from "../create/draft.js";
import { isPricing, quote } from "../create/quote.js";

const COUNT_FROM = 0.8;

/** Price and waiting time in one line. @param {object} quote */
export function costText({ cost, jobs, eta_s: eta }) {
  const round = (value) => formatNumber(value < 10 ? Math.round(value * 10) / 10 : Math.round(value));
  return [
    jobs > 1 ? tn(jobs, "{n} combination", "{n} combinations") : "",
    formatSeconds(eta),
    cost ? tn(cost, "{n} device-second", "{n} device-seconds", { n: round(cost) }) : t("free"),
  ].filter(Boolean).join(" · ");
}

function tokensText({ tokens, limit, chunks, unread }) {
  if (unread) return tn(unread, "The model ignores the last {n} token", "The model ignores the last {n} tokens");
  if (chunks > 1) return t("{n} tokens in {chunks} chunks", { n: tokens, chunks });
  return limit ? t("{n} of {limit} tokens", { n: tokens, limit }) : tn(tokens, "{n} token", "{n} tokens");
}

function charactersText() {
  const limit = mainOption.value?.max_length;
  const count = [...prompt.value].length;
  return limit && count >= COUNT_FROM * limit ? t("{n} of {limit} characters", { n: formatNumber(count), limit: formatNumber(limit) }) : "";
}

/** Price, waiting time and tokens; the keyboard hint while nothing is typed. */
export function factsView() {
  const known = quote.value;
  const tokens = known?.tokens?.prompt;
  const left = quota.value?.limit === null || !quota.value ? Infinity : quota.value.limit - quota.value.used - quota.value.reserved;
  const isTooMuch = known && known.cost > left;
  const parts = [known ? costText(known) : isPricing.value ? "…" : "", tokens ? tokensText(tokens) : "", charactersText()].filter(Boolean);
  const isOver = tokens?.unread > 0 || [...prompt.value].length > (mainOption.value?.max_length ?? Infinity);
  const keys = t("Enter to send, Shift+Enter for a new line");
  return html`
    <span class=${isOver ? "create-over" : ""}>${parts.join(" · ")}</span>
    ${isTooMuch ? html`<span class="create-over">${t("Exceeds what is left of today's quota")}</span>` : nothing}
    ${parts.length || !mainOption.value ? nothing : html`<span class="create-keys">${keys}</span>`}`;
}
