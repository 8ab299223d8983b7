// Reported results. Viewing them is logged, so pictures load only on request.

import { remove } from "../core/api.js";
import { confirmDialog } from "../core/dialog.js";
import { restoreFocus } from "../core/focus.js";
import { icon } from "../core/icons.js";
import { html, nothing, repeat, signal } from "../core/render.js";
import { stateView } from "../core/states.js";
import { t, tn } from "../core/text.js";
import { showToast, showUndo } from "../core/toast.js";
import { factsView, jobFacts, timeView } from "./facts.js";
import { moreView, Resource, resourceView, attempt } from "./lists.js";

/** @type {[string, () => string][]} */
const STATES = [["open", () => t("Open")], ["closed", () => t("Closed")], ["all", () => t("All")]];
const reports = new Resource("/admin/reports", "reports");
/** Ids of the reports whose pictures are shown. */
const revealed = signal(new Set());

const stateOf = (query) => (STATES.some(([name]) => name === query.get("state")) ? query.get("state") : "open");

export const reportsTab = {
  title: () => t("Reports"),
  load: (query) => void reports.load({ state: stateOf(query) }),
  view: (query) => html`
    <nav class="row admin-tools" aria-label=${t("Report status")}>
      ${STATES.map(([name, label]) => html`<a class="button chip" href=${`/admin?tab=reports&state=${name}`} aria-current=${name === stateOf(query) ? "true" : nothing}>${label()}</a>`)}
      <p class="hint" role="status">${reports.body ? tn(reports.body.total, "{n} report", "{n} reports") : nothing}</p>
    </nav>
    ${resourceView(reports, (body) => (body.reports.length ? html`<ul class="admin-list">${repeat(body.reports, (one) => one.id, reportView)}</ul>` : emptyView(stateOf(query))))}
    ${moreView(reports)}`,
};

const emptyView = (state) => stateView({
  icon: "check",
  title: state === "open" ? t("No open reports") : t("No reports"),
  text: t("People report results from the message menu on Discord (Apps, Report) or with the button below a result in groups."),
});

const reportView = (report) => html`
  <li class="card admin-card" data-report=${report.id}>
    <div class="row">
      <h2>${report.reason || t("No reason given")}</h2>
      ${report.closed_at ? html`<span class="tag">${report.outcome === "delete" ? t("Deleted") : t("Dismissed")}</span>` : nothing}
    </div>
    ${factsView([
      [t("Created by"), report.job.person.name],
      [t("Reported by"), report.reporter.name],
      [t("Reported"), timeView(report.created_at)],
      [t("Closed"), timeView(report.closed_at)],
      [t("Job"), jobFacts(report.job)],
      [t("Prompt"), report.prompt],
      [t("Answer"), report.text],
    ])}
    ${report.pictures.length ? picturesView(report) : nothing}
    ${report.closed_at ? nothing : html`
      <div class="row">
        <button type="button" @click=${() => dismiss(report)}>${t("Dismiss")}</button>
        <button type="button" class="primary danger" @click=${() => deleteReported(report)}>${icon("trash")}${t("Delete reported content")}</button>
      </div>`}
  </li>`;

function picturesView(report) {
  if (!revealed.value.has(report.id)) {
    return html`
      <div class="row">
        <button type="button" @click=${() => reveal(report)}>${icon("image")}${tn(report.pictures.length, "Show the picture", "Show {n} pictures")}</button>
        <p class="hint">${t("Viewing is logged.")}</p>
      </div>`;
  }
  return html`<div class="row admin-pictures">${report.pictures.map((picture) => html`<img src=${picture.url} alt=${picture.alt || t("Picture {n}", { n: picture.n })} width=${picture.width} height=${picture.height}>`)}</div>`;
}

function reveal(report) {
  revealed.value = new Set(revealed.peek()).add(report.id);
  void restoreFocus(`[data-report="${report.id}"] button`);
}

const close = (report, action, options) => remove(`/admin/reports/${report.id}?action=${action}`, options);

function dismiss(report) {
  reports.drop((one) => one.id === report.id);
  void restoreFocus("[data-report] button");
  showUndo(t("Report dismissed."), {
    undo: () => reports.reload(),
    commit: (options) => attempt(() => close(report, "dismiss", options)).then(() => reports.reload()),
  });
}

async function deleteReported(report) {
  const name = report.job.person.name;
  const text = report.picture ? t("{name}'s picture and its chat messages will be permanently deleted.", { name }) : t("{name}'s result, its prompt and its chat messages will be permanently deleted.", { name });
  if (!(await confirmDialog({ title: t("Delete the reported content?"), text, confirm: t("Delete"), isDangerous: true }))) return;
  if (await attempt(() => close(report, "delete"))) showToast(t("Reported content deleted."));
  await reports.reload();
  await restoreFocus("[data-report] button");
}
