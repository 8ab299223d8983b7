// What an unfinished job is doing, in one line.

import { formatSeconds } from "./dom.js";

/** `format(progress, left)` words its steps; `left` is "" while the time is unknown. */
export function progressText(job, format) {
  const left = formatSeconds(job.eta_s);
  if (job.install_progress) return installText(job, left);
  if (job.state === "queued") {
    const position = job.position ? `Queued at position ${job.position}` : "Queued";
    return left ? `${position} · ${left}` : position;
  }
  if (job.progress?.phase === "loading") return left ? `Loading the model · ${left} left` : "Loading the model…";
  if (job.progress?.phase === "finishing") return "Finishing…";
  if (!job.progress?.steps || job.progress.phase === "waiting") return "Starting…";
  return format(job.progress, left);
}

/** Progress of the model that the job is waiting for. */
function installText({ install_progress: install, position }, left) {
  const percent = install.total ? `, ${Math.floor((100 * install.done) / install.total)} %` : "";
  const activity = { downloading: `Downloading ${install.title}${percent}`, checking: `Verifying ${install.title}` }[install.stage] || `Preparing ${install.title}`;
  return [activity, left, position ? `position ${position}` : ""].filter(Boolean).join(" · ");
}
