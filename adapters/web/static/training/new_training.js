// The dialog that starts a training.

import { get, post } from "../core/api.js";
import { openDialog } from "../core/dialog.js";
import { html, nothing, signal } from "../core/render.js";
import { fieldError } from "../core/states.js";
import { t } from "../core/text.js";

const TASKS = { vision: "visual-question-answering", image: "text-to-image" };
const CHATS = "image-text-to-text";

/** @returns {Promise<boolean | null>} whether a training was started */
export async function openTraining() {
  const { models } = await get("/models");
  const state = signal({ kind: "vision", folder: "", name: "", model: "", words: "", corrections: false, replace: false, error: "", isSending: false });
  return openDialog({ title: t("Train a model"), kind: "wide", view: (close) => formView(state, models, close) });
}

const change = (state, values) => (state.value = { ...state.peek(), ...values, error: "" });

function formView(state, models, close) {
  const values = state.value;
  const able = models.filter(({ tasks }) => tasks.includes(TASKS[values.kind]) && !tasks.includes(CHATS)); // those that chat learn no answers
  return html`
    <form class="admin-form" novalidate @submit=${(event) => submit(event, state, close)}>
      <fieldset class="admin-choices">
        <legend>${t("What it learns")}</legend>
        ${kindView(state, "vision", t("Answers and captions"))}
        ${kindView(state, "image", t("A subject or a style to draw"))}
      </fieldset>
      <label class="field">${t("Folder on the server")}
        <input name="folder" maxlength="4096" autocomplete="off" spellcheck="false" placeholder="/home/me/glyphs" .value=${values.folder} @input=${(event) => change(state, { folder: event.target.value })}>
      </label>
      <p class="hint">${values.kind === "vision"
        ? t("Pictures and a file metadata.jsonl, with a line such as {example} for each.", { example: '{"file_name": "1.jpg", "question": "what is this?", "answer": "a lynx"}' })
        : t("Ten to thirty pictures of it. Captions come from metadata.jsonl, from text files of the same names, or from the vision model.")}</p>
      ${values.kind === "image" ? wordsView(state) : nothing}
      <div class="row">
        <label class="field">${t("Name of the adapter")}
          <input name="name" maxlength="64" autocomplete="off" spellcheck="false" placeholder=${t("as the folder")} .value=${values.name} @input=${(event) => change(state, { name: event.target.value.trim() })}>
        </label>
        <label class="field">${t("Model")}
          <select @change=${(event) => change(state, { model: event.target.value })}>
            <option value="">${t("The one in use")}</option>
            ${able.map((model) => html`<option value=${model.name} ?selected=${model.name === values.model}>${model.title ?? model.name}</option>`)}
          </select>
        </label>
      </div>
      <fieldset class="admin-choices">
        ${values.kind === "vision" ? correctionsView(state) : nothing}
        <label><input type="checkbox" .checked=${values.replace} @change=${(event) => change(state, { replace: event.target.checked })}>${t("Replace an adapter of this name")}</label>
      </fieldset>
      ${values.error ? fieldError(values.error) : nothing}
      <div class="row dialog-actions">
        <button type="button" @click=${() => close()}>${t("Cancel")}</button>
        <button type="submit" class="primary" ?disabled=${values.isSending}>${t("Train")}</button>
      </div>
    </form>`;
}

const kindView = (state, kind, label) => html`
  <label><input type="radio" name="kind" value=${kind} .checked=${state.value.kind === kind} @change=${() => change(state, { kind, model: "" })}>${label}</label>`;

const wordsView = (state) => html`
  <label class="field">${t("Words that name it in prompts")}
    <input name="words" maxlength="200" autocomplete="off" .value=${state.value.words} @input=${(event) => change(state, { words: event.target.value })}>
  </label>`;

const correctionsView = (state) => html`
  <label><input type="checkbox" .checked=${state.value.corrections} @change=${(event) => change(state, { corrections: event.target.checked })}>${t("Also learn from corrections that people allowed to be used")}</label>`;

async function submit(event, state, close) {
  event.preventDefault();
  const { kind, folder, name, model, words, corrections, replace } = state.peek();
  state.value = { ...state.peek(), error: "", isSending: true };
  try {
    await post("/admin/train", { kind, folder: folder.trim(), name, model, replace, ...(kind === "image" ? { words: words.trim() } : { corrections }) });
    close(true);
  } catch (problem) {
    state.value = { ...state.peek(), error: problem.message, isSending: false };
  }
}
