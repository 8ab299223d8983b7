// Creating a key: shown once, with a one-time link as text and QR code.

import { post } from "../core/api.js";
import { copyText } from "../account/copying.js";
import { openDialog } from "../core/dialog.js";
import { icon } from "../core/icons.js";
import { html, nothing, signal } from "../core/render.js";
import { fieldError } from "../core/states.js";
import { hasKey, signIn } from "../core/store.js";
import { formatTime, t } from "../core/text.js";
import { qrView } from "./qr.js";

/** Resolves when the dialog is closed. */
export function openKeyDialog() {
  const state = signal({ created: null, error: "", option: "", isSending: false });
  return openDialog({ title: t("Create a key"), view: (close) => (state.value.created ? createdView(state.value.created, close) : formView(state, close)) });
}

/** The first key ends access without one, so it has to be an admin's own. */
const firstView = () => html`
  <p>${t("This is the first key: your own admin key. This browser will be signed in with it. From then on, everyone needs a key to sign in.")}</p>`;

const formView = (state, close) => html`
  <form class="admin-form" novalidate @submit=${(event) => create(event, state)}>
    ${hasKey.value ? html`
      <div class="field">
        <label for="key-person">${t("Who is it for?")}</label>
        <input id="key-person" name="person" maxlength="60" autocomplete="off" aria-describedby="key-person-hint" aria-invalid=${state.value.option === "person" ? "true" : "false"}>
        <p class="hint" id="key-person-hint">${t("Name of a new person. Leave empty for yourself.")}</p>
      </div>
      <div class="field">
        <label for="key-name">${t("What is it for?")}</label>
        <input id="key-name" name="name" maxlength="60" autocomplete="off" placeholder=${t("Phone")} aria-invalid=${state.value.option === "name" ? "true" : "false"}>
      </div>
      <label class="admin-check"><input type="checkbox" name="admin"><span>${t("Admin key")}<span class="hint">${t("Gives access to everything in Admin.")}</span></span></label>` : firstView()}
    ${fieldError(state.value.error)}
    <div class="row dialog-actions">
      <button type="button" @click=${() => close()}>${t("Cancel")}</button>
      <button type="submit" class="primary" ?disabled=${state.value.isSending}>${hasKey.value ? t("Create key") : t("Create key")}</button>
    </div>
  </form>`;

async function create(event, state) {
  event.preventDefault();
  const { person, name, admin } = event.currentTarget.elements;
  const isFirst = !hasKey.peek();
  const body = isFirst ? { admin: true } : { person: person.value.trim() || null, name: name.value.trim() || null, admin: admin.checked };
  state.value = { ...state.peek(), error: "", option: "", isSending: true };
  try {
    const created = await post("/admin/keys", body);
    state.value = { created: { ...created, isFirst }, error: "", option: "", isSending: false };
    if (isFirst) await signIn(created.key);
  } catch (error) {
    state.value = { ...state.peek(), error: error.message, option: error.option, isSending: false };
  }
}

function createdView(created, close) {
  const link = location.origin + created.link;
  return html`
    <p class="admin-once">${icon("alert")}<span>${t("This key is shown only once. Keep it, or give it to {name}.", { name: created.person.name })}</span></p>
    ${copyField(t("Key"), created.key)}
    ${created.isFirst ? nothing : html`
      ${copyField(t("One-time link"), link)}
      <p class="hint">${t("Signs in the first person who opens it, without the key. Valid until {time}.", { time: formatTime(created.link_expires_at) })}</p>
      <div class="admin-code">${qrView(link, t("QR code of the link"))}</div>`}
    <div class="row dialog-actions"><button type="button" class="primary" @click=${() => close(true)}>${t("Done")}</button></div>`;
}

const copyField = (label, value) => html`
  <div class="field">
    <span class="field-label" aria-hidden="true">${label}</span>
    <div class="row admin-copy">
      <input readonly .value=${value} aria-label=${label} @focus=${(event) => event.target.select()}>
      <button type="button" aria-label=${t("Copy: {label}", { label })} @click=${() => copyText(value)}>${icon("copy")}${t("Copy")}</button>
    </div>
  </div>`;
