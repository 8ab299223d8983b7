// Trainings that run, trained adapters with their report cards, and starting a training.

import { remove } from "../core/api.js";
import { confirmDialog } from "../core/dialog.js";
import { icon } from "../core/icons.js";
import { html, nothing, repeat } from "../core/render.js";
import { fieldError, stateView } from "../core/states.js";
import { t, tn } from "../core/text.js";
import { timeView } from "../admin/facts.js";
import { attempt, poll, Resource, resourceView } from "../admin/lists.js";
import { openTraining } from "./new_training.js";
import { lossView, reportView } from "./report_card.js";

const REFRESH_MS = 2000;
const IDLE_REFRESH_MS = 15_000;
const trainings = new Resource("/admin/trainings");
const STAGES = {
  queued: t("Waiting for another training"),
  waiting: t("Waiting: jobs come first"),
  checking: t("Checking the examples"),
  captioning: t("Captioning the pictures"),
  encoding: t("Encoding the pictures"),
  replaying: t("Preparing replay"),
  training: t("Training"),
  testing: t("Testing"),
};
const STATES = { accepted: t("Passed"), rejected: t("Failed its test"), retired: t("Retired") };
const KINDS = { vision: t("Answers"), image: t("Pictures") };

/** Often while something is trained, because each answer has all report cards. */
export function load() {
  void trainings.load();
  const isTraining = () => Boolean(trainings.state.peek().body?.trainings.some((one) => one.state === "running"));
  const stops = [poll(trainings, REFRESH_MS, isTraining), poll(trainings, IDLE_REFRESH_MS, () => !isTraining())];
  return () => stops.forEach((stop) => stop());
}

export const view = () => html`
  <div class="row admin-tools">
    <p class="hint">${t("Teach a model from a folder of pictures. It is tested afterwards, and only used if it learned the new things and kept the old ones.")}</p>
    <span class="spacer"></span>
    <button type="button" class="primary" @click=${start}>${icon("models")}${t("Train a model")}</button>
  </div>
  ${resourceView(trainings, listView)}`;

async function start() {
  await attempt(async () => {
    if (await openTraining()) await trainings.reload();
  });
}

function listView({ trainings: all, adapters }) {
  const shown = all.filter((one) => one.state !== "done");
  if (!shown.length && !adapters.length) return stateView({ icon: "models", title: t("Nothing was trained yet"), text: t("To begin, you need a folder of at least eight pictures with questions and answers.") });
  return html`
    ${shown.length ? html`<ul class="admin-list">${repeat(shown, (one) => `${one.name} ${one.started_at}`, trainingView)}</ul>` : nothing}
    ${adapters.length ? html`<ul class="admin-list">${repeat(adapters, (one) => one.name, adapterView)}</ul>` : nothing}`;
}

function trainingView(training) {
  const { name, kind, model, state, progress, losses, error } = training;
  return html`
    <li class="card admin-card" data-training=${name} aria-labelledby=${`training-${name}`}>
      <div class="row">
        <h2 id=${`training-${name}`}>${name}</h2>
        <span class="tag">${KINDS[kind]}</span><span class="hint">${model}</span>
        <span class="spacer"></span>
        ${state === "running" ? html`<button type="button" class="subtle" aria-label=${t("Cancel the training of {name}", { name })} @click=${() => cancel(name)}>${t("Cancel")}</button>` : nothing}
      </div>
      ${progress ? progressView(progress) : nothing}
      ${fieldError(error)}
      ${losses.length > 1 ? lossView(name, losses) : nothing}
    </li>`;
}

const progressView = ({ stage, done, total }) => html`
  <p class="hint" role="status">${STAGES[stage] ?? stage}${total ? html` · ${t("{done} of {total}", { done, total })}` : nothing}</p>
  <progress max="1" .value=${total ? done / total : 0} aria-label=${STAGES[stage] ?? stage}></progress>`;

async function cancel(name) {
  const text = t("What it has learned so far is deleted.");
  if (!(await confirmDialog({ title: t("Cancel the training of {name}?", { name }), text, confirm: t("Cancel the training"), isDangerous: true }))) return;
  await attempt(() => remove(`/admin/trainings/${name}`));
  await trainings.reload();
}

const useText = ({ name, kind }) => (kind === "image"
  ? t("Use it in prompts as {tag}, or switch it on for all prompts on the Models page.", { tag: `<lora:${name}:1>` })
  : t("Requests can choose it with the option Adapter. The Models page switches it on and off for all others."));

function adapterView(adapter) {
  const { name, kind, model, state, report, created_at: at } = adapter;
  return html`
    <li class="card admin-card" data-adapter=${name} aria-labelledby=${`adapter-${name}`}>
      <div class="row">
        <h2 id=${`adapter-${name}`}>${name}</h2>
        <span class=${`tag ${state === "accepted" ? "admin-good" : "admin-bad"}`}>${icon(state === "accepted" ? "check" : "alert")}${STATES[state] ?? state}</span>
        <span class="tag">${KINDS[kind]}</span><span class="hint">${model} · ${timeView(at)}</span>
      </div>
      ${state === "retired" ? html`<p>${t("A correction that it learned from was withdrawn, so it is switched off. To use it, train it again.")}</p>` : nothing}
      ${state === "rejected" ? html`<p>${adapter.rejection}</p>` : nothing}
      ${state === "accepted" ? html`<p class="hint">${useText(adapter)}</p>` : nothing}
      ${reportView(adapter)}
      <p class="hint">${tn(report.steps, "{n} step, {minutes} minutes, {size} MiB of memory.", "{n} steps, {minutes} minutes, {size} MiB of memory.", { minutes: (report.seconds / 60).toFixed(1), size: report.peak_mb })}</p>
    </li>`;
}
