// Adding models by their source, and all of another program's folder.

import { post } from "../core/api.js";
import { openDialog } from "../core/dialog.js";
import { html, nothing, signal } from "../core/render.js";
import { sentenceView } from "../core/sentence.js";
import { fieldError } from "../core/states.js";
import { t, tn } from "../core/text.js";
import { showToast } from "../core/toast.js";
import { changeModels } from "./catalogue.js";

const SKIPPED_SHOWN = 8;

/** Opens the dialog; it stays open after a refusal, with what was typed. */
export function openAdding() {
  const state = signal({ error: "", busy: "", scanned: null });
  return openDialog({ title: t("Add a model"), kind: "wide", view: (close) => addingView(state, close) });
}

const addingView = (state, close) => html`
  ${formView(state, {
    name: "source",
    label: t("From the Hugging Face Hub, Civitai or this server"),
    hint: t("A Hub name (org/name), a Civitai link, or a file or folder on the server. LoRAs and textual inversions work too."),
    example: "org/name",
    button: t("Add"),
    run: (source) => add(state, source, close),
  })}
  <hr class="models-line">
  ${formView(state, {
    name: "folder",
    label: t("All models from ComfyUI or AUTOMATIC1111"),
    hint: t("The program's folder on the server. Files are used in place: nothing is copied or changed."),
    example: "/home/me/ComfyUI",
    button: t("Scan folder"),
    run: (folder) => scan(state, folder),
  })}
  ${state.value.scanned ? scannedView(state.value.scanned) : nothing}`;

const formView = (state, { name, label, hint, example, button, run }) => html`
  <form class="field" novalidate @submit=${(event) => submit(event, name, run)}>
    <label for=${`models-${name}`}>${label}</label>
    <div class="row models-source">
      <input id=${`models-${name}`} name=${name} maxlength="1000" autocomplete="off" spellcheck="false" placeholder=${example}
        aria-describedby=${`models-${name}-hint`} aria-invalid=${state.value.error && state.value.failed === name ? "true" : nothing}>
      <button type="submit" class=${name === "source" ? "primary" : ""} ?disabled=${Boolean(state.value.busy)}>${button}</button>
    </div>
    <p class="hint" id=${`models-${name}-hint`}>${hint}</p>
    ${state.value.busy === name ? html`<p class="hint" role="status"><span class="spinner" aria-hidden="true"></span> ${t("Reading…")}</p>` : nothing}
    ${state.value.failed === name ? fieldError(state.value.error) : nothing}
  </form>`;

function submit(event, name, run) {
  event.preventDefault();
  const input = event.currentTarget.elements[name];
  if (input.value.trim()) void run(input.value.trim());
  else input.focus();
}

async function add(state, source, close) {
  state.value = { ...state.peek(), error: "", failed: "", busy: "source" };
  try {
    const { model, addition } = await post("/admin/models", { source });
    await changeModels(async () => null);
    close();
    showToast(model ? t("{title} was added. Install it to use it.", { title: model.title }) : t("{name} was added. Use its name in prompts.", { name: addition.name }));
  } catch (error) {
    state.value = { ...state.peek(), error: error.message, failed: "source", busy: "" };
  }
}

async function scan(state, folder) {
  state.value = { ...state.peek(), error: "", failed: "", busy: "folder", scanned: null };
  try {
    const scanned = await post("/admin/models/scan", { folder });
    await changeModels(async () => null);
    state.value = { ...state.peek(), busy: "", scanned };
  } catch (error) {
    state.value = { ...state.peek(), error: error.message, failed: "folder", busy: "" };
  }
}

function scannedView({ files }) {
  const adopted = files.filter((file) => file.outcome === "adopted");
  const present = files.filter((file) => file.outcome === "present");
  const skipped = files.filter((file) => file.outcome === "skipped");
  return html`
    <section role="status" class="models-scanned">
      <p><strong>${tn(adopted.length, "{n} model was added.", "{n} models were added.")}</strong>
        ${present.length ? tn(present.length, "{n} already added.", "{n} already added.") : nothing}</p>
      ${adopted.length ? html`<p>${adopted.map((file) => file.name).join(", ")}</p>` : nothing}
      ${skipped.length ? html`
        <p>${tn(skipped.length, "{n} file skipped:", "{n} files skipped:")}</p>
        <ul>${skipped.slice(0, SKIPPED_SHOWN).map((file) => html`<li><code>${file.path}</code> ${sentenceView(file.reason)}</li>`)}</ul>` : nothing}
    </section>`;
}
