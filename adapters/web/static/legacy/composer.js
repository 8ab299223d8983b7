// The composer: prompt, input picture and options. Accepted jobs are passed to `onAccepted`.

import { get, post } from "./api.js";
import { announce, byId, formatSeconds, setText } from "./dom.js";
import { clearInputImage, inputImage, setUpImageInput } from "./image-input.js";
import { chosenOptions, markInvalid, restoreOptions } from "./options.js";

const COMBINATIONS = /\{[^{}]*\|[^{}]*\}/;
let onAccepted = () => {};
let pendingQuote = null;
const requestsInFlight = new Set();

export function setUpComposer(whenAccepted) {
  onAccepted = whenAccepted;
  const prompt = byId("prompt");
  byId("composer").addEventListener("submit", (event) => (event.preventDefault(), submitPrompt()));
  prompt.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    if (!event.repeat) submitPrompt();
  });
  prompt.addEventListener("input", () => (showError(""), resize(prompt)));
  byId("ask-image").addEventListener("click", () => submitImageCommand("ask"));
  byId("caption-image").addEventListener("click", () => submitImageCommand("caption"));
  byId("confirm-no").addEventListener("click", () => showQuote(null));
  byId("confirm-yes").addEventListener("click", () => pendingQuote && submit(pendingQuote.body, pendingQuote.quote));
  setUpImageInput(showError);
}

function resize(textarea) {
  textarea.rows = Math.min(10, Math.max(2, textarea.value.split("\n").length, Math.ceil(textarea.value.length / 70)));
}

function showError(text, option = null) {
  setText(byId("composer-error"), text);
  byId("prompt").toggleAttribute("aria-invalid", Boolean(text) && ["prompt", "question"].includes(option));
  markInvalid(option);
}

async function submitPrompt() {
  const images = inputImage() ? [inputImage().id] : [];
  const options = { prompt: byId("prompt").value, ...chosenOptions(images.length > 0) };
  const body = { command: "imagine", options, images };
  if (COMBINATIONS.test(options.prompt)) await runOnce(body, async () => showQuote({ body, ...(await post("/quotes", body)) }));
  else await submit(body);
}

async function submitImageCommand(command) {
  const options = command === "ask" ? { question: byId("prompt").value } : {};
  const isAccepted = await submit({ command, options, images: [inputImage().id] });
  if (isAccepted) clearInputImage();
}

/** A prompt with several combinations is priced and confirmed first. */
function showQuote(quote) {
  pendingQuote = quote;
  byId("confirm").hidden = quote === null;
  if (quote === null) return;
  const cost = quote.cost ? `, ${quote.cost} device-seconds` : "";
  const eta = quote.eta_s === null ? "" : ` (${formatSeconds(quote.eta_s)})`;
  byId("confirm-text").textContent = `This prompt has ${quote.jobs} combinations${cost}${eta}.`;
  byId("confirm-yes").focus();
}

async function submit(body, quote = undefined) {
  return runOnce(body, async () => {
    const accepted = await post("/jobs", quote ? { ...body, quote } : body);
    showQuote(null);
    announce(accepted.position ? `Queued at position ${accepted.position}.` : "Accepted.");
    const prompt = byId("prompt");
    if (prompt.value === (body.options.prompt ?? body.options.question)) prompt.select();
    for (const { id } of accepted.jobs || [accepted]) onAccepted(await get(`/jobs/${id}`));
  });
}

/** Ignores a second click while the same request is in flight. */
async function runOnce(body, work) {
  const key = JSON.stringify(body);
  if (requestsInFlight.has(key)) return false;
  requestsInFlight.add(key);
  showError("");
  try {
    await work();
    return true;
  } catch (error) {
    showQuote(null);
    showError(error.message, error.option || "");
    return false;
  } finally {
    requestsInFlight.delete(key);
  }
}

/** Puts an earlier prompt and its options back into the composer. */
export function reusePrompt(options) {
  const prompt = byId("prompt");
  prompt.value = options.prompt || "";
  resize(prompt);
  restoreOptions(options);
  showError("");
  byId("composer").scrollIntoView({ block: "center", behavior: "smooth" });
  prompt.focus();
  announce("The prompt and its options were restored.");
}
