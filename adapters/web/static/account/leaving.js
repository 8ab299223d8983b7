// Leaving: signing out everywhere, and deleting all of a person's data.

import { remove } from "../core/api.js";
import { confirmDialog, openDialog } from "../core/dialog.js";
import { html, nothing, signal } from "../core/render.js";
import { fieldError } from "../core/states.js";
import { hasKey, signOut } from "../core/store.js";
import { t } from "../core/text.js";
import { finishAll, showToast } from "../core/toast.js";

/** Ends the session on the server; throws if that is refused. @param {string} path @param {unknown} [body] */
async function endSession(path, body) {
  await finishAll(); // while it is still allowed
  await remove(path, { body, quiet: true });
}

export async function signOutEverywhere() {
  const text = t("All browsers, including this one, will need a key to sign in again. Keys and linked accounts are kept.");
  if (!(await confirmDialog({ title: t("Sign out everywhere?"), text, confirm: t("Sign out everywhere") }))) return;
  try {
    await endSession("/session?everywhere=true");
    await signOut();
  } catch (error) {
    showToast(error.message, { kind: "error" });
  }
}

/** Asks before everything is deleted. @param {string[]} names of the accounts whose data goes */
export function askToForget(names) {
  const state = signal({ error: "", isBusy: false });
  return openDialog({ title: t("Delete everything about me?"), view: (close) => forgetForm(names, state, close) });
}

const forgetForm = (names, state, close) => html`
  <form class="account-form" novalidate @submit=${(event) => forget(event, names, state)}>
    <p>${t("Prompts, answers, pictures, favourites, collections and settings are permanently deleted, and queued and running jobs are cancelled. Chat messages stay until you delete them there.")}</p>
    ${hasKey.value ? html`<p>${t("Your keys stop working, so you cannot sign in again without a new one.")}</p>` : nothing}
    ${names.length > 1 ? html`<p>${t("This applies to all linked accounts: {accounts}.", { accounts: names.join(", ") })}</p>` : nothing}
    <label class="row"><input type="checkbox" name="sure" aria-invalid=${state.value.error ? "true" : "false"}>${t("Yes, delete everything about me")}</label>
    ${fieldError(state.value.error)}
    <div class="row dialog-actions">
      <button type="button" @click=${() => close()}>${t("Cancel")}</button>
      <button type="submit" class="primary danger" ?disabled=${state.value.isBusy}>${t("Delete everything")}</button>
    </div>
  </form>`;

async function forget(event, names, state) {
  event.preventDefault();
  const { sure } = event.currentTarget.elements;
  if (!sure.checked) {
    state.value = { error: t("Tick the box to confirm."), isBusy: false };
    return void sure.focus();
  }
  state.value = { error: "", isBusy: true };
  try {
    await endSession("/me", { confirm: true, linked: names.length > 1 });
    sessionStorage.setItem("easel.forgotten", "yes"); // said by the sign-in page
    await signOut();
  } catch (error) {
    state.value = { error: error.message, isBusy: false };
  }
  return undefined;
}
