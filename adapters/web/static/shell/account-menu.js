// The account menu: who is signed in, today's quota, theme, shortcuts, API docs, sign out.

import { html, nothing } from "../core/render.js";
import { icon } from "../core/icons.js";
import { loadStyle } from "../core/router.js";
import { hasKey, person, quota, signOut } from "../core/store.js";
import { t } from "../core/text.js";
import { showToast } from "../core/toast.js";
import { theme } from "./theme.js";

const rounded = (value) => (value < 10 ? Math.round(value * 10) / 10 : Math.round(value));

/** Today's quota as a sentence. */
export function quotaText({ limit, used, reserved }) {
  const spent = used + reserved;
  if (limit === null) return t("No daily limit");
  return t("{left} of {limit} device-seconds left today", { left: rounded(Math.max(0, limit - spent)), limit: rounded(limit) });
}

export const accountMenu = () => html`
  <button type="button" class="rail-link account-button" popovertarget="account-menu" aria-label=${t("Account")}>
    ${icon("account")}<span class="rail-label">${t("Account")}</span>
  </button>`;

export const accountPanel = () => html`
  <div id="account-menu" class="menu" popover role="dialog" aria-label=${t("Account")}>
    <p class="menu-title">${person.value?.name || t("This computer")}</p>
    ${quota.value ? quotaView(quota.value) : nothing}
    <fieldset class="segments">
      <legend>${t("Theme")}</legend>
      ${[["system", t("System")], ["light", t("Light")], ["dark", t("Dark")]].map(([value, label]) => html`
        <label><input type="radio" name="theme" .checked=${theme.value === value} value=${value} @change=${() => (theme.value = value)}>${label}</label>`)}
    </fieldset>
    <button type="button" class="menu-item" @click=${openLinks}>${icon("link")}${t("Linked accounts and data")}</button>
    <button type="button" class="menu-item" @click=${openShortcuts}>${icon("keyboard")}${t("Keyboard shortcuts")}</button>
    <a class="menu-item" href="/docs">${icon("external")}${t("API documentation")}</a>
    ${hasKey.value ? html`<button type="button" class="menu-item" @click=${signOut}>${icon("sign-out")}${t("Sign out")}</button>` : nothing}
  </div>`;

function quotaView(shown) {
  const share = shown.limit ? Math.min(1, (shown.used + shown.reserved) / shown.limit) : 0;
  return html`
    <p class="hint">${quotaText(shown)}</p>
    ${shown.limit === null ? nothing : html`<meter min="0" max="1" .value=${share} aria-label=${t("Quota used today")}></meter>`}`;
}

function closeMenu() {
  const menu = document.getElementById("account-menu");
  if (menu?.matches(":popover-open")) menu.hidePopover();
}

async function openPart(open) {
  closeMenu();
  try {
    await open();
  } catch {
    showToast(t("This part of the page could not be loaded. Reload the page."), { kind: "error" });
  }
}

const openLinks = () => openPart(async () => {
  const [{ openAccount }] = await Promise.all([import("../account/account.js"), loadStyle("account")]);
  await openAccount();
});

/** Lists every shortcut that works in the present view. */
export const openShortcuts = () => openPart(async () => (await import("../shortcut-list/shortcut-list.js")).openShortcutList());
