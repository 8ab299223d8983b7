// What admins change about a person: their quota, and whether they are blocked. Loaded when one of it is chosen.

import { put, remove } from "../core/api.js";
import { confirmDialog, openDialog } from "../core/dialog.js";
import { html, nothing, signal } from "../core/render.js";
import { fieldError } from "../core/states.js";
import { t } from "../core/text.js";
import { showToast } from "../core/toast.js";

/** Whether the quota was set. @returns {Promise<boolean>} */
export async function openQuota(person) {
  const state = signal({ isOwn: person.own_limit !== null, error: "" });
  const isSaved = await openDialog({ title: t("Quota of {name}", { name: person.name }), view: (close) => quotaForm(person, state, close) });
  if (isSaved) showToast(t("The quota of {name} is set.", { name: person.name }));
  return isSaved === true;
}

const quotaForm = (person, state, close) => html`
  <form class="admin-form" novalidate @submit=${(event) => saveQuota(event, person, state, close)}>
    <fieldset class="admin-choices">
      <legend>${t("Device-seconds per day")}</legend>
      <label><input type="radio" name="kind" value="usual" .checked=${!state.value.isOwn} @change=${() => (state.value = { isOwn: false, error: "" })}>${t("Default quota")}</label>
      <label><input type="radio" name="kind" value="own" .checked=${state.value.isOwn} @change=${() => (state.value = { isOwn: true, error: "" })}>${t("Custom quota")}</label>
    </fieldset>
    ${state.value.isOwn ? html`
      <div class="field">
        <label for="admin-quota">${t("Device-seconds (0 blocks new jobs)")}</label>
        <input id="admin-quota" name="limit" type="number" inputmode="decimal" min="0" max="1000000000" step="any" .defaultValue=${String(person.own_limit ?? person.limit ?? 600)} aria-invalid=${state.value.error ? "true" : "false"}>
      </div>` : nothing}
    ${fieldError(state.value.error)}
    <div class="row dialog-actions">
      <button type="button" @click=${() => close()}>${t("Cancel")}</button>
      <button type="submit" class="primary">${t("Save")}</button>
    </div>
  </form>`;

async function saveQuota(event, person, state, close) {
  event.preventDefault();
  const { limit } = event.currentTarget.elements;
  if (limit && (limit.value === "" || Number(limit.value) < 0)) return void (state.value = { ...state.peek(), error: t("Enter a number of device-seconds, such as 600.") });
  try {
    await put(`/admin/people/${person.id}/quota`, { limit: limit ? Number(limit.value) : null });
    close(true);
  } catch (error) {
    state.value = { ...state.peek(), error: error.message };
  }
  return undefined;
}

/** Whether they are blocked now. @returns {Promise<boolean>} */
export async function block(person) {
  const { name } = person;
  const text = t("{name} cannot create anything new on any linked account, and queued and running jobs are cancelled. Existing pictures can still be viewed, downloaded and deleted.", { name });
  if (!(await confirmDialog({ title: t("Block {name}?", { name }), text, confirm: t("Block"), isDangerous: true }))) return false;
  await put(`/admin/people/${person.id}/block`);
  showToast(t("{name} was blocked.", { name }));
  return true;
}

/** Whether they are no longer blocked. @returns {Promise<boolean>} */
export async function unblock(person) {
  await remove(`/admin/people/${person.id}/block`);
  showToast(t("{name} was unblocked.", { name: person.name }));
  return true;
}
