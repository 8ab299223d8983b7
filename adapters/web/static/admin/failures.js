// What was blocked, before it was accepted and while it ran, and failed jobs by the code that a person was told.

import { icon } from "../core/icons.js";
import { html, nothing, repeat } from "../core/render.js";
import { sentenceView } from "../core/sentence.js";
import { updateQuery } from "../core/router.js";
import { stateView } from "../core/states.js";
import { t, tn } from "../core/text.js";
import { jobFacts, timeView } from "./facts.js";
import { moreView, Resource, resourceView } from "./lists.js";

const refused = new Resource("/admin/blocked", "blocked");
const incidents = new Resource("/admin/incidents");

export const refusedTab = {
  title: () => t("Blocked"),
  load: () => void refused.load(),
  view: () => html`
    <p class="hint admin-note">${t("Refused requests, and jobs that were blocked while running. Their prompts and pictures are private and not shown.")}</p>
    ${resourceView(refused, (body) => (body.blocked.length ? html`<ul class="admin-list">${repeat(body.blocked, (job) => job.id ?? job.created_at, failureView)}</ul>` : stateView({ icon: "check", title: t("Nothing was blocked"), text: t("Requests and jobs blocked by the classifier or a rule appear here.") })))}
    ${moreView(refused)}`,
};

export const incidentsTab = {
  title: () => t("Incidents"),
  load: (query) => void incidents.load({ code: query.get("code") ?? "" }),
  view: (query) => html`
    <form class="row admin-tools" role="search" @submit=${find}>
      <div class="field">
        <label for="admin-code">${t("Incident code")}</label>
        <input id="admin-code" name="code" type="search" maxlength="200" autocomplete="off" spellcheck="false" .value=${query.get("code") ?? ""}>
      </div>
      <button type="submit">${icon("search")}${t("Find")}</button>
    </form>
    ${resourceView(incidents, (body) => incidentsView(body, query.get("code") ?? ""))}`,
};

function find(event) {
  event.preventDefault();
  void updateQuery({ code: event.currentTarget.elements.code.value.trim() });
}

function incidentsView({ incidents: jobs, log }, code) {
  if (!jobs.length && !log.length) return code ? stateView({ icon: "search", title: t("No incident has this code"), text: t("Incidents are kept as long as their jobs and the log.") }) : stateView({ icon: "check", title: t("No failed jobs"), text: t("When something breaks, people see an incident code. Enter it above to see what happened.") });
  return html`
    ${code ? nothing : html`<p class="hint admin-note">${t("Latest failed jobs.")}</p>`}
    <ul class="admin-list">${repeat(jobs, (job) => job.id, failureView)}</ul>
    ${log.length ? html`
      <h2>${tn(log.length, "{n} log line", "{n} log lines")}</h2>
      <pre class="admin-log" tabindex="0" aria-label=${t("Log lines")}>${log.map((line) => Object.entries(line).map(([name, value]) => `${name}=${value}`).join(" ")).join("\n")}</pre>` : nothing}`;
}

const failureView = (job) => html`
  <li class="card admin-card" data-job=${job.id ?? nothing}>
    <div class="row"><h2>${job.person.name}</h2><span class="tag">${job.reason || job.code || t("failed")}</span>
      ${job.incident ? html`<a href=${`/admin?tab=incidents&code=${job.incident}`} aria-label=${t("Incident {code}", { code: job.incident })}><code>${job.incident}</code></a>` : nothing}
      <span class="spacer"></span>${timeView(job.finished_at ?? job.created_at)}</div>
    <p class="hint">${jobFacts(job)}${job.id ? nothing : html` · ${t("not accepted")}`}</p>
    ${job.message ? html`<p>${sentenceView(job.message)}</p>` : nothing}
  </li>`;
