// The status of an unfinished job in one line, with a countdown.

import { lazyPart } from "../core/parts.js";
import { effect, signal } from "../core/render.js";
import { isFinished, queueCount } from "../core/store.js";
import { formatSeconds, t } from "../core/text.js";

const TICK_MS = 1000;
const MAX_KEPT = 60;
const now = signal(Date.now());
const notes = lazyPart("extras", () => import("../extras/notes.js"));
const countdowns = new Map();
const lastPreviews = new Map();

/** The clock runs while there is something to wait for. @returns {() => void} ends it */
export function startClock() {
  let timer = null;
  const stop = effect(() => {
    clearInterval(timer);
    if (queueCount.value) timer = setInterval(() => (now.value = Date.now()), TICK_MS);
  });
  return () => {
    clearInterval(timer);
    stop();
  };
}

/** Remaining seconds, counted down from the server's estimate; null: unknown. Repeating the same estimate does not restart the countdown. */
function secondsLeft({ id, eta_s: eta, progress }) {
  if (eta === null || eta === undefined) return null;
  const phase = progress?.phase;
  const known = countdowns.get(id);
  if (known?.eta !== eta || known.phase !== phase) countdowns.set(id, { eta, phase, since: Date.now() });
  if (countdowns.size > MAX_KEPT) countdowns.delete(countdowns.keys().next().value);
  return Math.max(0, eta - Math.max(0, now.value - countdowns.get(id).since) / 1000);
}

/** @param {object} job */
export function progressText(job) {
  const left = formatSeconds(secondsLeft(job));
  if (job.cancel_requested) return t("Cancelling…");
  if (job.install_progress) return notes()?.installText(job, left) ?? "";
  if (job.state === "queued") return [job.position ? t("Queued at position {position}", { position: job.position }) : t("Queued"), left].filter(Boolean).join(" · ");
  const { phase = "waiting", step = 0, steps = 0 } = job.progress ?? {};
  if (phase === "loading") return left ? t("Loading the model · {left} left", { left }) : t("Loading the model…");
  if (phase === "finishing") return t("Finishing…");
  if (!steps || phase === "waiting") return t("Starting…");
  return left ? t("Step {step} of {steps} · {left} left", { step, steps, left }) : t("Step {step} of {steps}", { step, steps });
}

/** Progress, 0 to 1; null: unknown. @param {object} job */
export function shareDone(job) {
  const { phase, step, steps } = job.progress ?? {};
  if (isFinished(job)) return 1;
  return steps && phase === "running" ? step / steps : phase === "finishing" ? 1 : null;
}

/** The last preview of a job, which stays below its picture until that is loaded. @param {object} job */
export function lastPreview(job) {
  if (job.preview) lastPreviews.set(job.id, job.preview);
  const preview = lastPreviews.get(job.id) ?? null;
  if (lastPreviews.size > MAX_KEPT) lastPreviews.delete(lastPreviews.keys().next().value);
  return preview;
}
