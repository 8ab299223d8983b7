// The desk: prompt, photo, options; what is asked for goes to `onAccepted`.

import { get, post } from "./api.js";
import { announce, byId, say, seconds } from "./dom.js";
import { chosenOptions, point, recall } from "./options.js";
import { clearPhoto, photo, setUpPhoto } from "./photo.js";

const SEVERAL = /\{[^{}]*\|[^{}]*\}/;
let onAccepted = () => {};
let confirmed = null;
const sending = new Set();

export function setUpComposer(whenAccepted) {
  onAccepted = whenAccepted;
  const prompt = byId("prompt");
  byId("composer").addEventListener("submit", (event) => (event.preventDefault(), imagine()));
  prompt.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    if (!event.repeat) imagine();
  });
  prompt.addEventListener("input", () => (complain(""), grow(prompt)));
  byId("ask-photo").addEventListener("click", () => aboutPhoto("ask"));
  byId("caption-photo").addEventListener("click", () => aboutPhoto("caption"));
  byId("confirm-no").addEventListener("click", () => offer(null));
  byId("confirm-yes").addEventListener("click", () => confirmed && send(confirmed.body, confirmed.quote));
  setUpPhoto(complain);
}

function grow(area) {
  area.rows = Math.min(10, Math.max(2, area.value.split("\n").length, Math.ceil(area.value.length / 70)));
}

function complain(words, option = null) {
  say(byId("composer-error"), words);
  byId("prompt").toggleAttribute("aria-invalid", Boolean(words) && ["prompt", "question"].includes(option));
  point(option);
}

async function imagine() {
  const images = photo() ? [photo().id] : [];
  const options = { prompt: byId("prompt").value, ...chosenOptions(images.length > 0) };
  const body = { command: "imagine", options, images };
  if (SEVERAL.test(options.prompt)) await once(body, async () => offer({ body, ...(await post("/quotes", body)) }));
  else await send(body);
}

async function aboutPhoto(command) {
  const options = command === "ask" ? { question: byId("prompt").value } : {};
  const isSent = await send({ command, options, images: [photo().id] });
  if (isSent) clearPhoto();
}

/** A prompt that stands for several pictures is priced and confirmed first. */
function offer(quote) {
  confirmed = quote;
  byId("confirm").hidden = quote === null;
  if (quote === null) return;
  const cost = quote.cost ? `, ${quote.cost} device-seconds` : "";
  const eta = quote.eta_s === null ? "" : ` (${seconds(quote.eta_s)})`;
  byId("confirm-text").textContent = `This prompt stands for ${quote.jobs} requests${cost}${eta}.`;
  byId("confirm-yes").focus();
}

async function send(body, quote = undefined) {
  return once(body, async () => {
    const accepted = await post("/jobs", quote ? { ...body, quote } : body);
    offer(null);
    announce(accepted.position ? `Queued, number ${accepted.position}.` : "Accepted.");
    const prompt = byId("prompt");
    if (prompt.value === (body.options.prompt ?? body.options.question)) prompt.select();
    for (const { id } of accepted.jobs || [accepted]) onAccepted(await get(`/jobs/${id}`));
  });
}

/** A second click on the same request is not a second request. */
async function once(body, work) {
  const name = JSON.stringify(body);
  if (sending.has(name)) return false;
  sending.add(name);
  complain("");
  try {
    await work();
    return true;
  } catch (error) {
    offer(null);
    complain(error.message, error.option || "");
    return false;
  } finally {
    sending.delete(name);
  }
}

/** Bring an earlier request back to the desk. */
export function reuse(options) {
  const prompt = byId("prompt");
  prompt.value = options.prompt || "";
  grow(prompt);
  recall(options);
  complain("");
  byId("composer").scrollIntoView({ block: "center", behavior: "smooth" });
  prompt.focus();
  announce("The prompt and its options are back at the top.");
}
