// Cancelling: a running job ends now; a queued one can be taken back for ten seconds, until it would have begun.

import { remove } from "../core/api.js";
import { takeJob } from "../core/events.js";
import { batch, signal } from "../core/render.js";
import { jobSignal, unfinishedJobs } from "../core/store.js";
import { t, tn } from "../core/text.js";
import { showToast, showUndo } from "../core/toast.js";

/** Ids of queued jobs that are cancelled unless that is undone. */
export const withdrawn = signal(new Set());

const pending = new Map();

function setWithdrawn(ids, isWithdrawn) {
  const next = new Set(withdrawn.peek());
  for (const id of ids) isWithdrawn ? next.add(id) : next.delete(id);
  withdrawn.value = next;
}

async function cancelNow(id, options = {}) {
  try {
    takeJob(await remove(`/jobs/${id}`, options));
  } catch (error) {
    const job = jobSignal(id)?.peek();
    if (error.code !== "not_cancellable" && error.code !== "not_found") showToast(error.message, { kind: "error" });
    else if (job) showToast(t("It was done already."));
  }
}

function withdraw(ids) {
  setWithdrawn(ids, true);
  const forget = () => ids.forEach((id) => pending.delete(id));
  const toast = showUndo(tn(ids.length, "{n} waiting job cancelled.", "{n} waiting jobs cancelled."), {
    undo() {
      forget();
      setWithdrawn(ids, false);
    },
    async commit(options) {
      forget();
      await Promise.all(ids.map((id) => cancelNow(id, options)));
      setWithdrawn(ids, false);
    },
  });
  ids.forEach((id) => pending.set(id, toast));
}

/** @param {object[]} jobs */
export function cancelJobs(jobs) {
  const waiting = jobs.filter((job) => job.state === "queued").map((job) => job.id);
  batch(() => {
    for (const job of jobs) if (job.state === "running" && !job.cancel_requested) void cancelNow(job.id);
    if (waiting.length) withdraw(waiting);
  });
}

/** A withdrawn job that is about to use a device is cancelled now. @param {string} name @param {object} job */
export function followWithdrawn(name, job) {
  if (name === "changed" && job.state === "running") pending.get(job.id)?.close();
}

/** The jobs to show: those that were withdrawn are gone already. */
export const shownJobs = () => unfinishedJobs.value.filter((job) => !withdrawn.value.has(job.id));
