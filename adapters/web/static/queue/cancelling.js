// Cancelling: running jobs stop now; cancelling a queued job can be undone for ten seconds. If it starts within that time,
// it is cancelled, and undoing submits it again.

import { post, remove } from "../core/api.js";
import { fetchJob, onJobEvent, storeJob } from "../core/events.js";
import { batch, signal } from "../core/render.js";
import { unfinishedJobs } from "../core/store.js";
import { t, tn } from "../core/text.js";
import { showToast, showUndo } from "../core/toast.js";

/** Ids of queued jobs that are cancelled unless that is undone. */
export const withdrawn = signal(new Set());

/** What can be undone: `{waiting, cancelled}`, ids that are cancelled later, and jobs whose turn came before that. */
const withdrawals = new Set();

onJobEvent(followWithdrawn);

function setWithdrawn(ids, isWithdrawn) {
  const next = new Set(withdrawn.peek());
  for (const id of ids) isWithdrawn ? next.add(id) : next.delete(id);
  withdrawn.value = next;
}

async function cancelNow(id, options = {}) {
  try {
    storeJob(await remove(`/jobs/${id}`, options));
  } catch (error) {
    const isOver = ["not_cancellable", "not_found"].includes(error.code);
    showToast(isOver ? t("It had already finished.") : error.message, { kind: isOver ? "info" : "error" });
  }
}

function withdraw(ids) {
  const withdrawal = { waiting: new Set(ids), cancelled: [] };
  withdrawals.add(withdrawal);
  setWithdrawn(ids, true);
  showUndo(tn(ids.length, "{n} queued job cancelled.", "{n} queued jobs cancelled."), {
    undo() {
      withdrawals.delete(withdrawal);
      setWithdrawn([...withdrawal.waiting], false);
      void Promise.all(withdrawal.cancelled.map(submitAgain));
    },
    async commit(options) {
      withdrawals.delete(withdrawal);
      await Promise.all([...withdrawal.waiting].map((id) => cancelNow(id, options)));
      setWithdrawn(ids, false);
    },
  });
}

/** A withdrawn job that starts is cancelled now, so it uses no compute. */
function followWithdrawn(name, job) {
  const withdrawal = [...withdrawals].find((one) => one.waiting.has(job.id));
  if (!withdrawal || job.state !== "running") return;
  withdrawal.waiting.delete(job.id);
  withdrawal.cancelled.push(job);
  void cancelNow(job.id);
}

const IMAGE_FIELDS = { control: ["kind", "weight", "start", "end", "ready"], reference: ["kind", "weight"] };
const imageOf = (image) => Object.fromEntries(["id", "role", ...(IMAGE_FIELDS[image.role] ?? [])].map((name) => [name, image[name]]));

async function submitAgain({ command, options, images }) {
  try {
    const { id } = await post("/jobs", { command, options, images: images.map(imageOf) });
    await fetchJob(id);
  } catch (error) {
    showToast(error.message, { kind: "error" });
  }
}

/** @param {object[]} jobs */
export function cancelJobs(jobs) {
  const waiting = jobs.filter((job) => job.state === "queued").map((job) => job.id);
  batch(() => {
    for (const job of jobs) if (job.state === "running" && !job.cancel_requested) void cancelNow(job.id);
    if (waiting.length) withdraw(waiting);
  });
}

/** The jobs to show: those that were withdrawn are gone already. */
export const shownJobs = () => unfinishedJobs.value.filter((job) => !withdrawn.value.has(job.id));
