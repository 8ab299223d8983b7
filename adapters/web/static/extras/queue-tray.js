// Queued jobs, one line each.

import { icon } from "../core/icons.js";
import { html, nothing, repeat, SignalView } from "../core/render.js";
import { jobSignal } from "../core/store.js";
import { t, tn } from "../core/text.js";
import { shorten, promptOf } from "../core/titles.js";
import { progressText } from "../create/progress.js";
import { cancelJob } from "../create/tiles.js";

const MAX_QUEUED = 5;

/** Queued jobs, the next one first. @param {object[]} queued */
export const queuedView = (queued) => html`
  <section class="extras-queue" aria-label=${t("Queue")}>
    ${repeat(queued.slice(0, MAX_QUEUED), (job) => job.id, ({ id }) => SignalView(() => {
      const job = jobSignal(id)?.value;
      return job ? html`
        <div class="extras-queued" data-job=${job.id} data-state=${job.state}>
          ${icon("queue")}<span class="extras-queued-title">${promptOf(job)}</span><span class="hint number">${progressText(job)}</span>
          <button type="button" class="chip" ?disabled=${Boolean(job.cancel_requested)} aria-label=${t("Cancel: {title}", { title: shorten(promptOf(job)) })} @click=${() => cancelJob(job)}>${t("Cancel")}</button>
        </div>` : nothing;
    }))}
    ${queued.length > MAX_QUEUED ? html`<a href="/queue">${tn(queued.length - MAX_QUEUED, "{n} more in the queue", "{n} more in the queue")}</a>` : nothing}
  </section>`;
