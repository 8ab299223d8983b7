// While the page is hidden: progress in the title, and optional notifications of finished jobs.

import { mediaUrl } from "../core/api.js";
import { onJobEvent } from "../core/events.js";
import { computed, html, nothing, runOnSignals, signal, storedSignal } from "../core/render.js";
import { currentRoute, setTitle } from "../core/router.js";
import { unfinishedJobs } from "../core/store.js";
import { t, tn } from "../core/text.js";
import { promptOf } from "../core/titles.js";
import { announce } from "../core/toast.js";
import { shareDone } from "../create/progress.js";

const isHidden = signal(document.hidden);
const wantsNotice = storedSignal("create.notify", false);
/** Phones show notifications of service workers only. */
const canNotify = "Notification" in window && !matchMedia("(pointer: coarse)").matches;
const permission = signal(canNotify ? Notification.permission : "denied");

document.addEventListener("visibilitychange", () => (isHidden.value = document.hidden));

const hiddenTitle = computed(() => {
  const running = unfinishedJobs.value.find((job) => job.state === "running");
  const share = running ? shareDone(running) : null;
  if (share !== null) return t("{n} % · Create", { n: Math.round(100 * share) });
  return unfinishedJobs.value.length ? tn(unfinishedJobs.value.length, "{n} unfinished · Create", "{n} unfinished · Create") : "";
});

/** @returns {() => void} ends it */
export function startNotices() {
  let isDone = false;
  const stopTitle = runOnSignals(() => {
    if (!isHidden.value) isDone = false;
    if (currentRoute.value !== "create") return;
    setTitle((isHidden.value && (hiddenTitle.value || (isDone && t("Done · Create")))) || t("Create"));
  });
  const stopEvents = onJobEvent((name, job) => {
    if (name !== "finished") return;
    isDone = document.hidden;
    announce(job.result ? t("Done: {title}", { title: promptOf(job) }) : (job.error?.message ?? t("Cancelled.")));
    if (isDone && wantsNotice.peek() && permission.peek() === "granted") notify(job);
  });
  return () => {
    stopTitle();
    stopEvents();
  };
}

function notify(job) {
  const media = job.result?.media.find((one) => one && !one.spoiler);
  const notice = new Notification(job.result ? t("Done") : t("Something went wrong"), { body: promptOf(job), tag: job.id, ...(media && { icon: mediaUrl(media.id, 256) }) });
  notice.addEventListener("click", () => {
    window.focus();
    notice.close();
  });
}

async function toggle() {
  if (permission.peek() === "default") permission.value = await Notification.requestPermission();
  wantsNotice.value = permission.peek() === "granted" && !wantsNotice.peek();
}

/** The notification toggle, while jobs are unfinished. */
export const noticeSwitch = () => (unfinishedJobs.value.length && permission.value !== "denied" ? html`
  <button type="button" class="chip create-notify" aria-pressed=${wantsNotice.value && permission.value === "granted" ? "true" : "false"} @click=${toggle}>${t("Notify me when done")}</button>` : nothing);
