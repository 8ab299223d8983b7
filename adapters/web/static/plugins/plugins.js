// Plugins: which there are, what became of them, switching them, and what they show to admins.

import { put } from "../core/api.js";
import { icon } from "../core/icons.js";
import { html, nothing, repeat } from "../core/render.js";
import { fieldError, stateView } from "../core/states.js";
import { t } from "../core/text.js";
import { factsView } from "../admin/facts.js";
import { attempt, poll, Resource, resourceView } from "../admin/lists.js";

const REFRESH_MS = 10_000;
const plugins = new Resource("/admin/plugins");
const panels = new Resource("/plugins/panels");

export function load() {
  void plugins.load();
  void panels.load();
  const stops = [poll(plugins, REFRESH_MS), poll(panels, REFRESH_MS)];
  return () => stops.forEach((stop) => stop());
}

export const view = () => html`
  <p class="hint admin-note">${t("Plugins are called in this order. Change their order and settings in config.toml.")}</p>
  ${resourceView(plugins, listView)}
  ${panelsView()}`;

function listView({ plugins: all }) {
  if (!all.length) return stateView({ icon: "settings", title: t("There are no plugins"), text: t("Put a file into the plugins folder of the data directory, or create one with easel plugins new.") });
  return html`<ul class="admin-list">${repeat(all, (one) => one.name, pluginView)}</ul>`;
}

function pluginView(plugin) {
  const { name, source, enabled, problem, commands } = plugin;
  const [label, title] = enabled ? [t("Switch off"), t("Switch off {name}", { name })] : [t("Switch on"), t("Switch on {name}", { name })];
  const hooks = [...plugin.server_hooks, ...plugin.worker_hooks].map((one) => one.replace("easel_", ""));
  return html`
    <li class="card admin-card" data-plugin=${name} aria-labelledby=${`plugin-${name}`}>
      <div class="row">
        <h2 id=${`plugin-${name}`}>${name}</h2>
        ${stateTag(plugin)}<span class="hint">${source}</span>
        <span class="spacer"></span>
        <button type="button" aria-label=${title} @click=${() => change(name, !enabled)}>${label}</button>
      </div>
      ${fieldError(problem)}
      ${factsView([
        [t("Hooks"), hooks.join(", ")],
        [t("Commands"), commands.map((one) => `/${one}`).join(", ")],
        [t("Last error"), plugin.last_error && !problem?.includes(plugin.last_error) ? html`<code>${plugin.last_error}</code>` : ""],
      ])}
    </li>`;
}

function stateTag({ enabled, running, problem }) {
  if (problem) return html`<span class="tag admin-bad">${icon("alert")}${t("Not used")}</span>`;
  if (running) return html`<span class="tag admin-good">${icon("check")}${t("Running")}</span>`;
  return html`<span class="tag">${enabled ? t("On after the next start") : t("Off")}</span>`;
}

async function change(name, enabled) {
  await attempt(() => put(`/admin/plugins/${name}`, { enabled }));
  await plugins.reload();
  void panels.reload();
}

function panelsView() {
  const shown = (panels.body?.panels ?? []).filter((one) => one.for_admins);
  return shown.length ? html`<div class="admin-grid">${shown.map(panelView)}</div>` : nothing;
}

const panelView = ({ title, text, rows }, index) => html`
  <section class="card admin-card" aria-labelledby=${`plugin-panel-${index}`}>
    <h2 id=${`plugin-panel-${index}`}>${title}</h2>
    ${text ? html`<p class="admin-panel-text">${text}</p>` : nothing}
    ${rows.length ? factsView(rows) : nothing}
  </section>`;
