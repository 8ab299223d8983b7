// The account dialog: linked accounts, today's quota, data, signing out.

import { get, post, remove, request } from "../core/api.js";
import { confirmDialog, openDialog } from "../core/dialog.js";
import { restoreFocus } from "../core/focus.js";
import { icon } from "../core/icons.js";
import { html, nothing, repeat, signal } from "../core/render.js";
import { errorView, fieldError, loadingView } from "../core/states.js";
import { hasKey, loadUnfinished, quota, refreshQuota, signOut } from "../core/store.js";
import { formatNumber, formatTime, t, tn } from "../core/text.js";
import { showToast } from "../core/toast.js";
import { copyText } from "./copying.js";
import { askToForget, signOutEverywhere } from "./leaving.js";

const PLATFORMS = { discord: "Discord", telegram: "Telegram", web: t("Page or API"), local: t("This computer") };
const CHATS = ["discord", "telegram"];
const accounts = signal(null);
const failure = signal(null);
/**
 * @typedef {object} Step
 * @property {"" | "code" | "typing" | "preview"} name "code": ours is shown; "typing": theirs is typed
 * @property {string} [code]
 * @property {string} [until] when ours ends
 * @property {object} [sides] of a preview: what each account has
 * @property {string} [error] a sentence
 * @property {boolean} [isBusy]
 */

const step = signal(/** @type {Step} */ ({ name: "" }));
const isExporting = signal(false);

/** Opens the dialog of the account. */
export function openAccount() {
  step.value = { name: "" };
  void loadAccounts();
  window.addEventListener("focus", checkQuietly);
  return openDialog({ title: t("Your account"), kind: "wide", view: accountView }).finally(() => window.removeEventListener("focus", checkQuietly));
}

/** Checks for the link when the person returns from the chat. */
const checkQuietly = () => step.peek().name === "code" && finishCode({ isQuiet: true });

async function loadAccounts() {
  failure.value = null;
  try {
    accounts.value = (await get("/link")).accounts;
  } catch (error) {
    failure.value = error;
  }
}

const accountView = () => html`
  <section class="account-part" aria-labelledby="account-linked">
    <h3 id="account-linked">${t("Linked accounts")}</h3>
    ${failure.value ? errorView(failure.value, loadAccounts) : accounts.value ? accountsView(accounts.value) : loadingView()}
  </section>
  ${failure.value ? nothing : linkView()}
  ${quota.value ? quotaView(quota.value) : nothing}
  ${dataView()}`;

const accountsView = (list) => html`
  <ul class="account-list">
    ${repeat(list, (one) => `${one.platform} ${one.account}`, (one) => html`
      <li>
        ${icon(CHATS.includes(one.platform) ? "ask" : "account")}
        <span><strong>${PLATFORMS[one.platform] ?? one.platform}</strong> ${one.name}</span>
        ${CHATS.includes(one.platform) ? html`<button type="button" class="subtle" aria-label=${t("Unlink {name} on {platform}", { name: one.name, platform: PLATFORMS[one.platform] })} @click=${() => unlink(one)}>${t("Unlink")}</button>` : nothing}
      </li>`)}
  </ul>`;

async function unlink(one) {
  const platform = PLATFORMS[one.platform];
  const text = t("All pictures, favourites and settings stay here. {name} on {platform} starts over with an empty history.", { name: one.name, platform });
  if (!(await confirmDialog({ title: t("Unlink {platform}?", { platform }), text, confirm: t("Unlink"), isDangerous: true }))) return;
  try {
    accounts.value = (await remove(`/link/${one.platform}?account=${encodeURIComponent(one.account)}`)).accounts;
    showToast(t("Unlinked {name} on {platform}.", { name: one.name, platform }));
    await restoreFocus("dialog[open] .account-part button");
  } catch (error) {
    showToast(error.message, { kind: "error" });
  }
}

function linkView() {
  const { name } = step.value;
  /** @type {Record<Step["name"], (step: any) => unknown>} */
  const views = { "": offerView, code: codeView, typing: typingView, preview: previewView };
  return html`<section class="account-part" aria-labelledby="account-link"><h3 id="account-link">${t("Link Discord or Telegram")}</h3>${views[name](step.value)}</section>`;
}

const offerView = ({ error = "", isBusy = false }) => html`
  <p class="hint">${t("Share pictures, favourites, history and quota across accounts. What you create in a chat appears here moments later.")}</p>
  <div class="row">
    <button type="button" class="primary" ?disabled=${isBusy} @click=${askForCode}>${icon("link")}${t("Get a code for a chat")}</button>
    <button type="button" @click=${() => showStep("typing")}>${t("I have a code from a chat")}</button>
  </div>
  ${fieldError(error)}`;

/** Shows a step, and moves the focus into it. */
function showStep(name, more = {}) {
  step.value = { name, ...more };
  requestAnimationFrame(() => requestAnimationFrame(() => document.querySelector("dialog[open] [data-first]")?.focus()));
}

async function askForCode() {
  step.value = { name: "", isBusy: true };
  try {
    const { code, expires_at: until } = await post("/link", {});
    showStep("code", { code, until });
  } catch (error) {
    step.value = { name: "", error: error.message };
  }
}

const codeView = ({ code, until }) => html`
  <p>${t("Send this to the bot on Discord or Telegram:")}</p>
  ${[["Discord", `/link code:${code}`], ["Telegram", `/link ${code}`]].map(([name, text], index) => html`
    <div class="row account-code">
      <span>${name}</span><code>${text}</code>
      <button type="button" ?data-first=${index === 0} aria-label=${t("Copy for {platform}", { platform: name })} @click=${() => copyText(text)}>${icon("copy")}${t("Copy")}</button>
    </div>`)}
  <p class="hint">${t("Valid once, until {time}. Keep it to yourself: anyone with it can take over your account. The bot shows what will be merged before you confirm.", { time: formatTime(until) })}</p>
  <div class="row"><button type="button" @click=${() => finishCode()}>${t("I have sent it")}</button><button type="button" class="subtle" @click=${() => (step.value = { name: "" })}>${t("Back")}</button></div>`;

async function finishCode({ isQuiet = false } = {}) {
  const before = accounts.peek()?.length ?? 0;
  await Promise.all([loadAccounts(), refreshQuota(), loadUnfinished()]);
  if ((accounts.peek()?.length ?? 0) > before) {
    step.value = { name: "" };
    showToast(t("Accounts linked."));
  } else if (!isQuiet) showToast(t("Nothing is linked yet. Send the code to the bot and confirm there."));
}

const typingView = ({ code = "", error = "", isBusy = false }) => html`
  <form class="account-form" novalidate @submit=${preview}>
    <p>${t("Send /link to the bot on Discord or Telegram. It replies with a code.")}</p>
    <div class="field">
      <label for="account-code">${t("Code")}</label>
      <input id="account-code" name="code" data-first maxlength="40" autocomplete="one-time-code" autocapitalize="characters" spellcheck="false" placeholder="ABCD-1234" .defaultValue=${code} aria-invalid=${error ? "true" : "false"}>
    </div>
    ${fieldError(error)}
    <div class="row"><button type="submit" class="primary" ?disabled=${isBusy}>${t("Preview merge")}</button><button type="button" class="subtle" @click=${() => (step.value = { name: "" })}>${t("Back")}</button></div>
  </form>`;

async function preview(event) {
  event.preventDefault();
  const { code: field } = event.currentTarget.elements;
  const code = field.value.trim();
  if (!code) {
    step.value = { name: "typing", error: t("Enter the code from the chat.") };
    return void field.focus();
  }
  step.value = { name: "typing", code, isBusy: true };
  try {
    showStep("preview", { code, sides: await post("/link", { code, confirm: false }) });
  } catch (error) {
    step.value = { name: "typing", code, error: error.message };
    field.focus();
  }
  return undefined;
}

const previewView = ({ code, sides, error = "", isBusy = false }) => html`
  <div class="account-sides">${sideView(t("This account"), sides.yours)}${sideView(t("The other account"), sides.other)}</div>
  <p>${t("They become one account with the pictures, favourites and history of both.")} ${mergedQuota(sides)}</p>
  ${fieldError(error)}
  <div class="row">
    <button type="button" class="primary" data-first ?disabled=${isBusy} @click=${() => confirmLink(code, sides)}>${t("Link accounts")}</button>
    <button type="button" @click=${() => (step.value = { name: "" })}>${t("Not now")}</button>
  </div>`;

const rounded = (value) => formatNumber(Math.round(value * 10) / 10);

const mergedQuota = ({ used, limit }) => (limit === null ? t("The quota is unlimited.") : t("The combined quota is {limit} device-seconds a day, {used} of them used today.", { limit: rounded(limit), used: rounded(used) }));

const nameOf = (one) => `${PLATFORMS[one.platform] ?? one.platform}: ${one.name}`;

const sideView = (title, side) => html`
  <div class="card">
    <h4>${title}</h4>
    <p>${side.accounts.map(nameOf).join(", ")}</p>
    <p class="hint">${tn(side.jobs, "{n} job", "{n} jobs")} · ${tn(side.pictures, "{n} picture", "{n} pictures")}</p>
  </div>`;

async function confirmLink(code, sides) {
  step.value = { name: "preview", code, sides, isBusy: true };
  try {
    await post("/link", { code });
    step.value = { name: "" };
    await Promise.all([loadAccounts(), refreshQuota(), loadUnfinished()]);
    showToast(t("Accounts linked."));
    await restoreFocus("dialog[open] .account-part button");
  } catch (error) {
    step.value = { name: "preview", code, sides, error: error.message };
  }
}

function quotaView({ limit, used, reserved, resets_at: reset }) {
  const spent = used + reserved;
  const text = limit === null ? t("No daily limit") : t("{used} of {limit} device-seconds used · resets {time}", { used: rounded(spent), limit: rounded(limit), time: formatTime(reset) });
  return html`
    <section class="account-part" aria-labelledby="account-quota">
      <h3 id="account-quota">${t("Quota")}</h3>
      ${limit ? html`<meter min="0" max="1" .value=${Math.min(1, spent / limit)} aria-label=${t("Quota used today")}></meter>` : nothing}
      <p class="hint">${text}</p>
    </section>`;
}

const dataView = () => html`
  <section class="account-part" aria-labelledby="account-data">
    <h3 id="account-data">${t("Your data")}</h3>
    <div class="row">
      <button type="button" ?disabled=${isExporting.value} @click=${exportAll}>${icon("download")}${isExporting.value ? t("Preparing download…") : t("Download all pictures")}</button>
      ${hasKey.value ? html`<button type="button" @click=${signOut}>${icon("sign-out")}${t("Sign out of this browser")}</button>
        <button type="button" @click=${signOutEverywhere}>${t("Sign out everywhere")}</button>` : nothing}
      <button type="button" @click=${() => askToForget((accounts.value ?? []).map(nameOf))}>${icon("trash")}${t("Delete everything about me")}</button>
    </div>
    <p class="hint">${t("The download is a zip with a JSON file for each picture. Delete single pictures in the gallery.")}</p>
  </section>`;

async function exportAll() {
  isExporting.value = true;
  try {
    const response = await request("/export", { method: "POST", body: { jobs: null, pictures: [] } });
    const url = URL.createObjectURL(await response.blob());
    Object.assign(document.createElement("a"), { href: url, download: "easel.zip" }).click();
    setTimeout(() => URL.revokeObjectURL(url), 60_000);
  } catch (error) {
    showToast(error.message, { kind: "error" });
  }
  isExporting.value = false;
}
