// Everyone's queue.

import { remove } from "../core/api.js";
import { confirmDialog } from "../core/dialog.js";
import { restoreFocus } from "../core/focus.js";
import { html, nothing, repeat } from "../core/render.js";
import { stateView } from "../core/states.js";
import { formatSeconds, t, tn } from "../core/text.js";
import { showToast } from "../core/toast.js";
import { jobFacts } from "./facts.js";
import { poll, moreView, Resource, resourceView, attempt } from "./lists.js";

const REFRESH_MS = 3000;
const queue = new Resource("/admin/jobs", "jobs");

export const queueTab = {
  title: () => t("Queue"),
  load() {
    void queue.load();
    return poll(queue, REFRESH_MS);
  },
  view: () => html`
    <p class="hint admin-note" role="status">${queue.body ? tn(queue.body.total, "{n} unfinished job", "{n} unfinished jobs") : nothing}</p>
    ${resourceView(queue, (body) => (body.jobs.length ? html`<ul class="admin-list">${repeat(body.jobs, (job) => job.id, jobView)}</ul>` : emptyView()))}
    ${moreView(queue)}`,
};

const emptyView = () => stateView({ icon: "queue", title: t("The queue is empty"), text: t("Everyone's running and queued jobs appear here, including those from chats and the API.") });

const jobView = (job) => html`
  <li class="card admin-card admin-job" data-job=${job.id}>
    <div class="admin-main">
      <h2>${job.person.name}</h2>
      <p class="hint">${jobFacts(job)}</p>
      <p>${job.prompt === null ? html`<span class="hint">${t("The prompt is private.")}</span>` : job.prompt}</p>
    </div>
    <div class="admin-side">
      <p>${stateText(job)}</p>
      <p class="hint number">${[t("waited {time}", { time: formatSeconds(job.waits_s) }), job.eta_s === null ? "" : t("done in {left}", { left: formatSeconds(job.eta_s) })].filter(Boolean).join(" · ")}</p>
    </div>
    <button type="button" ?disabled=${job.cancel_requested} aria-label=${t("Cancel {name}'s job", { name: job.person.name })} @click=${() => cancel(job)}>${t("Cancel")}</button>
  </li>`;

function stateText(job) {
  if (job.cancel_requested) return t("Cancelling…");
  if (job.state === "queued") return job.position ? t("Queued at position {position}", { position: job.position }) : t("Queued");
  const { step = 0, steps = 0 } = job.progress ?? {};
  const where = job.device ? t("Running on {device}", { device: job.device }) : t("Running");
  return steps ? `${where}, ${t("step {step} of {steps}", { step, steps })}` : where;
}

async function cancel(job) {
  const text = t("{name} will be notified and not charged.", { name: job.person.name });
  if (!(await confirmDialog({ title: t("Cancel {name}'s job?", { name: job.person.name }), text, confirm: t("Cancel job"), isDangerous: true }))) return;
  if (await attempt(() => remove(`/admin/jobs/${job.id}`))) showToast(t("{name}'s job was cancelled.", { name: job.person.name }));
  await queue.reload();
  await restoreFocus(".admin-job button");
}
