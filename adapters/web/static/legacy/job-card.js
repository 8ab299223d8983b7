// The card of a job that generates pictures: its progress, then its results, with the details beside them.

import { announce, formatTime, h, setText } from "./dom.js";
import { titleOf } from "./commands.js";
import { isFinished, watchJob } from "./job-stream.js";
import { isDemo, isDemoNote } from "./options.js";
import { progressText } from "./progress-text.js";
import { buildResultCard, cancelJob } from "./result-card.js";

/**
 * `onResultCard(mediaId, card)` is called for each picture; `onUseAsInput(media)` and `onReuse(options)` pass something
 * to the composer; `onNewJob(job)` shows a job that was started from this one; `onFinished()` is called at the end.
 */
export function buildJobCard(firstJob, { onResultCard, onUseAsInput, onReuse, onFinished, onNewJob }) {
  const title = firstJob.options.prompt || titleOf(firstJob);
  const images = h("div", { class: "images" });
  const details = h("div", { class: "details" });
  const card = h("article", { class: "card job-card", "data-job": firstJob.id, "data-at": firstJob.created_at, "aria-label": title }, images, details);
  const pending = buildPending(firstJob);
  const cancel = h("button", { type: "button" }, "Cancel");
  const error = h("p", { class: "error", role: "alert", hidden: true });
  const note = h("p", { class: "note", hidden: true });
  const parameters = h("dl", { class: "parameters" });
  const reuse = h("button", { type: "button", class: "subtle" }, "Reuse");
  images.style.setProperty("--image-width", `${firstJob.options.width || 0}px`);
  let job = firstJob;
  let wasFinished = isFinished(firstJob);
  let hasResults = false;

  reuse.addEventListener("click", () => onReuse(job.result?.media.some(Boolean) ? { ...job.options, seed: job.result.seed } : job.options));
  cancel.addEventListener("click", () => {
    cancel.disabled = true;
    cancelJob(job.id, (text) => (setText(error, text), (cancel.disabled = false)));
  });

  const update = (changed, preview = null) => {
    job = changed;
    card.dataset.state = job.state;
    pending.update(job, preview);
    if (job.result && !hasResults) {
      hasResults = true;
      showResults(job, images, { onResultCard, onUseAsInput, onReuse, onNewJob });
    } else if (job.error) images.replaceChildren();
    else if (!hasResults && !images.contains(pending.element)) images.append(pending.element);
    cancel.hidden = isFinished(job);
    cancel.disabled = Boolean(job.cancel_requested);
    cancel.textContent = job.cancel_requested ? "Cancelling…" : "Cancel";
    setText(error, job.state === "cancelled" ? "" : job.error?.message || "");
    setText(note, noteOf(job));
    parameters.replaceChildren(...parametersOf(job));
    if (isFinished(job) && !wasFinished) {
      announce(job.result ? `Done: ${title}` : job.error?.message || "Cancelled.");
      onFinished();
    }
    wasFinished = isFinished(job);
  };

  details.append(
    h("p", { class: "prompt" }, title),
    firstJob.options.negative_prompt ? h("p", { class: "negative-prompt" }, `without ${firstJob.options.negative_prompt}`) : "",
    pending.status, parameters, note, error,
    h("div", { class: "row" }, cancel, reuse, h("time", { datetime: firstJob.created_at }, formatTime(firstJob.created_at))));
  update(firstJob);
  watchJob(firstJob, update);
  return card;
}

function showResults(job, images, { onResultCard, onUseAsInput, onReuse, onNewJob }) {
  images.replaceChildren();
  images.classList.toggle("multiple", job.result.media.filter(Boolean).length > 1);
  if (job.result.text) images.append(h("p", { class: "answer" }, job.result.text));
  for (const media of job.result.media.filter(Boolean)) {
    const resultCard = buildResultCard({ ...media, alt: media.alt || job.options.prompt }, { parent: job, onUseAsInput, onReuse, onNewJob });
    images.append(resultCard.figure);
    onResultCard(media.id, resultCard);
  }
}

/** The frame with the preview, and the progress bar with its text. */
function buildPending(job) {
  const image = h("img", { alt: "", hidden: true });
  const frame = h("div", { class: "frame pending" }, image);
  const bar = h("progress", { "aria-label": "Progress" });
  const text = h("span", { class: "progress-text" });
  const status = h("div", { class: "progress" }, bar, text);
  const { width, height } = job.options;
  if (width && height) frame.style.aspectRatio = `${width} / ${height}`;

  const update = (changed, preview) => {
    status.hidden = isFinished(changed);
    if (preview) {
      image.src = preview;
      image.hidden = false;
    }
    if (changed.progress?.steps && changed.progress.phase !== "loading") {
      bar.max = changed.progress.steps;
      bar.value = changed.progress.step;
    } else bar.removeAttribute("value");
    text.textContent = progressText(changed, formatSteps);
  };
  return { element: frame, status, update };
}

function formatSteps({ step, steps }, left) {
  return left ? `Step ${step} of ${steps} · ${left} left` : `Step ${step} of ${steps}`;
}

function noteOf(job) {
  if (job.state === "cancelled") return job.error?.message || "Cancelled.";
  return (job.result?.notes || []).filter((note) => !isDemoNote(note)).join("\n");
}

function parametersOf(job) {
  const { result, options } = job;
  const size = options.width && options.height ? `${options.width} × ${options.height}` : null;
  const model = result?.model || options.model;
  const pairs = [
    ["Seed", result?.seed ?? options.seed],
    ["Model", isDemo(model) ? `${model} (demo)` : model],
    ["Size", size],
    ["Steps", options.steps],
    ["Time", result?.seconds ? `${result.seconds < 10 ? result.seconds.toFixed(1) : Math.round(result.seconds)} s` : null],
  ];
  return pairs.filter(([, value]) => value !== null && value !== undefined && value !== "")
    .map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, String(value))));
}
