// The status of an unfinished job, with a countdown.

import { signal } from "../core/render.js";
import { formatSeconds, t } from "../core/text.js";

const TICK_MS = 1000;
const now = signal(Date.now());
const seenAt = new WeakMap();

/** @returns {() => void} ends the clock */
export function startClock() {
  now.value = Date.now();
  const timer = setInterval(() => (now.value = Date.now()), TICK_MS);
  return () => clearInterval(timer);
}

/** Remaining seconds, counted down from the server's estimate; null: unknown. @param {object} job */
export function secondsLeft(job) {
  if (job.eta_s === null || job.eta_s === undefined) return null;
  if (!seenAt.has(job)) seenAt.set(job, Date.now());
  return Math.max(0, job.eta_s - Math.max(0, now.value - seenAt.get(job)) / 1000);
}

/** @param {object} job */
export function stateText(job) {
  if (job.cancel_requested) return t("Cancelling…");
  if (job.install_progress) return t("Waiting for {title} to be installed", { title: job.install_progress.title });
  if (job.state === "queued") return job.position ? t("Queued at position {position}", { position: job.position }) : t("Queued");
  const { phase = "waiting", step = 0, steps = 0 } = job.progress ?? {};
  if (phase === "loading") return t("Loading the model…");
  if (phase === "finishing") return t("Finishing…");
  return steps && phase === "running" ? t("Step {step} of {steps}", { step, steps }) : t("Starting…");
}

/** @param {object} job */
export function leftText(job) {
  const left = secondsLeft(job);
  if (left === null || job.cancel_requested) return "";
  return job.state === "queued" ? t("done in {left}", { left: formatSeconds(left) }) : t("{left} left", { left: formatSeconds(left) });
}

/** Progress, 0 to 1; null: unknown. @param {object} job */
export function shareDone(job) {
  const { done, total } = job.install_progress ?? {};
  if (total) return done / total;
  const { phase, step, steps } = job.progress ?? {};
  return phase === "finishing" ? 1 : steps && phase === "running" ? step / steps : null;
}
