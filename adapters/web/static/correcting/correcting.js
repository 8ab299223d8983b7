// What a caption or an answer should have been, under it; and consent to training with it.

import { post, remove } from "../core/api.js";
import { storeJob } from "../core/events.js";
import { html, live, nothing, signal } from "../core/render.js";
import { fieldError } from "../core/states.js";
import { jobs } from "../core/store.js";
import { t } from "../core/text.js";
import { showToast } from "../core/toast.js";

const COMMANDS = ["caption", "ask"];
const NOTE_MS = 20_000;
const DATE = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "long", year: "numeric" });
const CLOSED = { job: "", text: "", consent: false, isEarlier: false, problem: "", isSending: false };
/** The form that is open. */
const form = signal(CLOSED);

const change = (values) => (form.value = { ...form.peek(), ...values });
const dateOf = (iso) => DATE.format(new Date(iso));

/** After the view has rendered, on the view in front: the one behind the viewer may show the job too. @param {string} id @param {string} selector */
const focusIn = (id, selector) => setTimeout(() => {
  const found = /** @type {HTMLElement[]} */ ([...document.querySelectorAll(`[data-correction="${id}"] ${selector}`)]);
  found.find((one) => !one.closest("[inert]"))?.focus();
});

/** Consent to earlier words is none to others. @param {string} text */
const type = (text) => change({ text, consent: form.peek().consent && !form.peek().isEarlier, isEarlier: false });

function open(job) {
  const { text = "", consent = false } = job.correction ?? {};
  form.value = { ...CLOSED, job: job.id, text, consent, isEarlier: consent };
  focusIn(job.id, "input");
}

function close(id) {
  form.value = CLOSED;
  focusIn(id, "button");
}

/** Stores the job's correction, and says which adapters are switched off. @param {string} id @param {Record<string, any> | null} saved */
function keep(id, saved) {
  const known = jobs.peek().get(id)?.peek();
  if (known) storeJob({ ...known, correction: saved });
  if (saved?.note) showToast(saved.note, { timeoutMs: NOTE_MS });
}

const send = (id, text, consent) => post(`/jobs/${id}/correction`, { text, consent });

/** @param {Event} event @param {string} id */
async function save(event, id) {
  event.preventDefault();
  const { text, consent } = form.peek();
  if (!text.trim()) {
    change({ problem: t("Type what it should have been.") });
    return focusIn(id, "input");
  }
  change({ problem: "", isSending: true });
  try {
    keep(id, await send(id, text, consent));
    close(id);
  } catch (error) {
    change({ problem: error.message, isSending: false });
  }
  return undefined;
}

/** @param {string} id @param {() => Promise<unknown>} work */
async function attempt(id, work) {
  try {
    await work();
    focusIn(id, "button");
  } catch (error) {
    showToast(error.message, { kind: "error" });
  }
}

const withdraw = async ({ id, correction }) => keep(id, await send(id, correction.text, false));

async function erase(job) {
  if (job.correction.consent) await withdraw(job);
  await remove(`/jobs/${job.id}/correction`);
  keep(job.id, null);
  showToast(t("The correction is deleted."));
}

const formView = (id) => html`
  <form class="correcting-form" novalidate @submit=${(event) => void save(event, id)} @keydown=${(event) => { if (event.key === "Escape") { event.stopPropagation(); close(id); } }}>
    <label class="field">${t("What it should have been")}
      <input maxlength="500" autocomplete="off" enterkeyhint="send" .value=${live(form.value.text)} @input=${(event) => type(event.target.value)}>
    </label>
    <label class="correcting-consent"><input type="checkbox" .checked=${live(form.value.consent)} @change=${(event) => change({ consent: event.target.checked })}>
      <span>${t("These words and the picture may be used to train this server's models. You can withdraw this any time.")}</span></label>
    ${fieldError(form.value.problem)}
    <div class="row">
      <button class="primary" ?disabled=${form.value.isSending}>${t("Save")}</button>
      <button type="button" @click=${() => close(id)}>${t("Cancel")}</button>
    </div>
  </form>`;

function consentText({ consent, consented_at: since, withdrawn_at: until }) {
  if (consent) return t("You allowed the use of these words and the picture for training on {date}.", { date: dateOf(since) });
  return until ? t("You withdrew your consent on {date}: this is not used for training.", { date: dateOf(until) }) : t("This is not used for training.");
}

const savedView = (job) => html`
  <p class="correcting-text"><span class="hint">${t("Corrected:")}</span> ${job.correction.text}</p>
  <p class="hint">${consentText(job.correction)}</p>
  <div class="row">
    ${job.correction.consent ? html`<button type="button" class="chip" @click=${() => attempt(job.id, () => withdraw(job))}>${t("Withdraw consent")}</button>` : nothing}
    <button type="button" class="chip" @click=${() => open(job)}>${t("Change")}</button>
    <button type="button" class="chip" @click=${() => attempt(job.id, () => erase(job))}>${t("Delete correction")}</button>
  </div>`;

const offerView = (job) => html`<button type="button" class="chip" @click=${() => open(job)}>${t("Correct this")}</button>`;

/** Nothing where there is nothing to correct. @param {Record<string, any>} job */
export function correctionView(job) {
  if (!COMMANDS.includes(job.command) || !job.result?.text || job.images.length !== 1) return nothing;
  const content = form.value.job === job.id ? formView(job.id) : job.correction ? savedView(job) : offerView(job);
  return html`<div class="correcting" data-correction=${job.id}>${content}</div>`;
}
