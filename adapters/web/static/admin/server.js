// Storage and retention, webhooks, and the policies and limits that the config sets.

import { lazyPart } from "../core/parts.js";
import { html, nothing } from "../core/render.js";
import { formatBytes, formatNumber, t, tn } from "../core/text.js";
import { factsView, timeView } from "./facts.js";
import { Resource, resourceView } from "./lists.js";

const storage = new Resource("/admin/storage");
const settings = new Resource("/admin/settings");
const importWebhooks = () => import("../webhooks/webhooks.js");
const webhooksPart = lazyPart("webhooks", importWebhooks);

export const serverTab = {
  title: () => t("Storage and policies"),
  load() {
    void storage.load();
    void settings.load();
    void importWebhooks().then(({ load }) => load(), () => undefined);
  },
  view: () => html`
    <div class="admin-grid">
      <section class="card admin-card" aria-labelledby="admin-storage"><h2 id="admin-storage">${t("Storage")}</h2>${resourceView(storage, storageView)}</section>
      <section class="card admin-card" aria-labelledby="admin-retention"><h2 id="admin-retention">${t("Retention")}</h2>${resourceView(storage, retentionView)}</section>
    </div>
    <h2>${t("Policies and limits")}</h2>
    <p class="hint admin-note">${t("Set in config.toml and read at startup.")}</p>
    ${resourceView(settings, (body) => html`<div class="admin-grid">${Object.entries(body.settings).map(sectionView)}</div>`)}
    ${webhooksPart()?.view() ?? nothing}`,
};

const storageView = (body) => factsView([
  [t("Pictures"), tn(body.images, "{n} picture, {size}", "{n} pictures, {size}", { size: formatBytes(body.image_bytes) })],
  [t("Oldest picture"), timeView(body.oldest_image_at)],
  [t("Database"), formatBytes(body.database_bytes)],
  [t("Compiled models"), body.builds_bytes ? formatBytes(body.builds_bytes) : t("none")],
  [t("Adapters and trainings"), body.learning_bytes ? formatBytes(body.learning_bytes) : t("none")],
  [t("Free space"), formatBytes(body.free_bytes)],
]);

function retentionView({ retention: { days = 0, max_gb: most = 0 }, unused_uploads_h: hours, min_free_mb: least }) {
  return factsView([
    [t("Maximum age"), days ? tn(days, "deleted after {n} day", "deleted after {n} days") : t("kept forever")],
    [t("Maximum size"), most ? t("oldest deleted above {n} GB", { n: formatNumber(most) }) : t("no limit")],
    [t("Uploads"), hours === null ? nothing : tn(hours, "unused ones deleted after {n} hour", "unused ones deleted after {n} hours")],
    [t("Minimum free space"), least ? t("new jobs refused below {n} MB", { n: formatNumber(least) }) : nothing],
  ]);
}

const sectionView = ([name, values]) => html`
  <section class="card admin-card admin-setting" aria-labelledby=${`setting-${name}`}>
    <h3 id=${`setting-${name}`}><code>[${name}]</code></h3>
    ${factsView(Object.entries(values).map(([key, value]) => [html`<code>${key}</code>`, valueText(value)]))}
  </section>`;

function valueText(value) {
  if (typeof value === "boolean") return value ? t("yes") : t("no");
  if (value === null) return t("not set");
  if (typeof value === "number") return formatNumber(value);
  return typeof value === "object" ? JSON.stringify(value) : String(value) || "–";
}
