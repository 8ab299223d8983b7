// People, their usage and quotas, their keys.

import { remove } from "../core/api.js";
import { confirmDialog } from "../core/dialog.js";
import { restoreFocus } from "../core/focus.js";
import { icon } from "../core/icons.js";
import { html, nothing, repeat } from "../core/render.js";
import { updateQuery } from "../core/router.js";
import { stateView } from "../core/states.js";
import { t, tn } from "../core/text.js";
import { showToast } from "../core/toast.js";
import { factsView, formatDeviceSeconds, platformName, timeView } from "./facts.js";
import { moreView, Resource, resourceView, attempt } from "./lists.js";

const SEARCH_DELAY_MS = 250;
const NEARLY_USED = 0.9;
const CHATS = ["discord", "telegram"];
const people = new Resource("/admin/people", "people");
let timer = null;

export const peopleTab = {
  title: () => t("People"),
  load: (query) => void people.load({ q: query.get("q") ?? "" }),
  view: (query) => html`
    <div class="row admin-tools">
      <form role="search" @submit=${(event) => event.preventDefault()}>
        <label class="visually-hidden" for="admin-search">${t("Search by name or account")}</label>
        <input type="search" id="admin-search" placeholder=${t("Name or account")} maxlength="200" autocomplete="off" .value=${query.get("q") ?? ""} @input=${search}>
      </form>
      <p class="hint" role="status">${people.body ? tn(people.body.total, "{n} person", "{n} people") : nothing}</p>
      <span class="spacer"></span>
      <button type="button" class="primary" @click=${createKey}>${icon("key")}${t("Create a key")}</button>
    </div>
    ${resourceView(people, (body) => (body.people.length ? html`<ul class="admin-grid">${repeat(body.people, (one) => one.id, personView)}</ul>` : nobodyView()))}
    ${moreView(people)}`,
};

function search(event) {
  const words = event.target.value.trim();
  clearTimeout(timer);
  timer = setTimeout(() => updateQuery({ q: words }), SEARCH_DELAY_MS);
}

const nobodyView = () => stateView({ icon: "account", title: t("No matching people"), text: t("Search by part of a name, or by a Discord or Telegram account ID.") });

/** @param {object} person @param {"openQuota" | "block" | "unblock"} action */
async function change(person, action) {
  await attempt(async () => (await (await import("../person/person.js"))[action](person)) && people.reload());
}

async function createKey() {
  if (!(await attempt(async () => (await import("../keys/keys.js")).openKeyDialog()))) return;
  await people.reload();
}

function personView(person) {
  const keys = person.keys.filter((key) => !key.revoked_at);
  return html`
    <li class="card admin-card" data-person=${person.id} aria-labelledby=${`person-${person.id}`}>
      <div class="row">
        <h2 id=${`person-${person.id}`}>${person.name}</h2>
        ${person.local ? html`<span class="tag">${t("This computer")}</span>` : nothing}
        ${person.blocked ? html`<span class="tag">${t("Blocked")}</span>` : nothing}
        <span class="spacer"></span>
        <button type="button" class="subtle" aria-label=${t("Quota of {name}", { name: person.name })} @click=${() => change(person, "openQuota")}>${t("Quota")}</button>
        ${person.local ? nothing : html`<button type="button" class="subtle" aria-label=${person.blocked ? t("Unblock {name}", { name: person.name }) : t("Block {name}", { name: person.name })} @click=${() => change(person, person.blocked ? "unblock" : "block")}>${person.blocked ? t("Unblock") : t("Block")}</button>`}
      </div>
      ${usageView(person)}
      ${factsView([
        [t("Jobs"), String(person.jobs)],
        [t("Last seen"), timeView(person.last_seen)],
        [t("Accounts"), person.accounts.filter((one) => CHATS.includes(one.platform)).map((one) => `${platformName(one.platform)} ${one.account}`).join(", ")],
      ])}
      ${keys.length ? html`
        <ul class="admin-keys" aria-label=${t("Keys of {name}", { name: person.name })}>
          ${repeat(keys, (key) => key.prefix, (key) => keyView(key, person))}
        </ul>` : nothing}
    </li>`;
}

function usageView({ name, used, limit, own_limit: own }) {
  const spent = formatDeviceSeconds(used);
  if (limit === null) return html`<p class="hint">${t("No daily limit")}</p>`;
  return html`
    <div class="admin-usage">
      <meter min="0" max="1" low=${NEARLY_USED} high=${NEARLY_USED} optimum="0" .value=${limit ? Math.min(1, used / limit) : 1} aria-label=${t("Quota used by {name} today", { name })}></meter>
      <p class="hint">${t("{used} of {limit} device-seconds today", { used: spent, limit: formatDeviceSeconds(limit) })}${own === null ? nothing : html` · ${t("custom quota")}`}</p>
    </div>`;
}

const keyView = (key, person) => html`
  <li>
    ${icon("key")}
    <span><code>${key.prefix}</code> ${key.name && key.name !== person.name ? key.name : nothing} ${key.admin ? html`<span class="tag">${t("Admin")}</span>` : nothing}
      <span class="hint">${key.last_used_at ? html`${t("last used")} ${timeView(key.last_used_at)}` : t("not used yet")}</span></span>
    <button type="button" class="subtle" aria-label=${t("Revoke key {prefix} of {name}", { prefix: key.prefix, name: person.name })} @click=${() => revoke(key, person)}>${t("Revoke")}</button>
  </li>`;

async function revoke(key, person) {
  const text = t("Everyone using this key is signed out, and its one-time links stop working. This cannot be undone. {name} keeps everything and can get a new key.", { name: person.name });
  if (!(await confirmDialog({ title: t("Revoke key {prefix}?", { prefix: key.prefix }), text, confirm: t("Revoke"), isDangerous: true }))) return;
  if (await attempt(() => remove(`/admin/keys/${key.prefix}`))) showToast(t("Key {prefix} revoked.", { prefix: key.prefix }));
  await people.reload();
  await restoreFocus(`[data-person="${person.id}"] button`);
}
