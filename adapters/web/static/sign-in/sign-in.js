// The sign-in page. It covers the view but leaves it as it is, so nothing typed is lost when a session ends.

import { effect, html, nothing, ref, signal } from "../core/render.js";
import { fieldError } from "../core/states.js";
import { session, signIn } from "../core/store.js";
import { t } from "../core/text.js";
import { logo } from "../shell/theme.js";

const problem = signal("");
const isSending = signal(false);

/** This browser's person has just deleted everything; said once. */
const isForgotten = sessionStorage.getItem("easel.forgotten") === "yes";
sessionStorage.removeItem("easel.forgotten");

let focusedBefore = null;

/** Restores the focus from before the session ended. */
effect(() => {
  if (session.value === "lost") focusedBefore = document.activeElement;
  else if (session.value === "ready" && focusedBefore) {
    const element = focusedBefore;
    focusedBefore = null;
    setTimeout(() => element.isConnected && element.focus({ preventScroll: true }));
  }
});

/** `autofocus` works only while a document loads. */
const takeFocus = (field) => field && queueMicrotask(() => field.focus());

async function submit(event) {
  event.preventDefault();
  const field = event.target.elements.password;
  const key = field.value.trim();
  if (!key) {
    problem.value = t("Enter your key.");
    return void field.focus();
  }
  problem.value = "";
  isSending.value = true;
  try {
    await signIn(key);
  } catch (error) {
    problem.value = error.status === 401
      ? t("This key is not valid. Check that you copied all of it. It may have been revoked.")
      : error.message;
    field.select();
  } finally {
    isSending.value = false;
  }
}

export const signInView = () => html`
  <main class="sign-in" id="sign-in">
    <form @submit=${submit} novalidate>
      <img src=${logo} alt="" width="44" height="44">
      <h1>${session.value === "lost" ? t("Your session has ended") : t("Sign in to Easel")}</h1>
      <p>${session.value === "lost" ? t("Sign in again to continue. What you typed is still here.") : t("Your API key keeps you signed in on this browser until you sign out.")}</p>
      ${isForgotten ? html`<p role="status">${t("Everything about you on this server was deleted.")}</p>` : nothing}
      <input class="visually-hidden" type="text" name="username" autocomplete="username" value="Easel" tabindex="-1" aria-hidden="true">
      <label for="key">${t("API key")}</label>
      <input id="key" type="password" name="password" autocomplete="current-password" spellcheck="false" ${ref(takeFocus)}
        enterkeyhint="go" aria-describedby="key-help" ?aria-invalid=${Boolean(problem.value)}>
      ${fieldError(problem.value)}
      <button class="primary" ?disabled=${isSending.value}>${isSending.value ? t("Signing in…") : t("Sign in")}</button>
      <p class="hint" id="key-help">${t("No key? Ask the owner of this server, who creates keys on the Admin page or with “easel keys create”.")}</p>
      ${session.value === "lost" ? html`<a href="/">${t("Start over without signing in")}</a>` : nothing}
    </form>
  </main>`;
