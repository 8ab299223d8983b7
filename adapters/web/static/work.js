// One request for pictures: its progress, then what came of it, with a label beside it as in a gallery.

import { announce, h, moment, say, seconds } from "./dom.js";
import { buildFigure, cancelJob } from "./figure.js";
import { isDemo, isDemoNote } from "./options.js";
import { isOver, watch } from "./watch.js";

/**
 * `onFigure(mediaId, figure)` tells of each picture; `onUse(media)` and `onReuse(options)` bring something to the desk;
 * `onMade(job)` hangs another picture that was asked for from this one.
 */
export function buildWork(first, { onFigure, onUse, onReuse, onOver, onMade }) {
  const title = first.options.prompt || "A larger picture";
  const stage = h("div", { class: "stage" });
  const label = h("div", { class: "label" });
  const card = h("article", { class: "card work", "data-job": first.id, "data-at": first.created_at, "aria-label": title }, stage, label);
  const pending = buildPending(first);
  const cancel = h("button", { type: "button" }, "Cancel");
  const error = h("p", { class: "error", role: "alert", hidden: true });
  const note = h("p", { class: "note", hidden: true });
  const facts = h("dl", { class: "facts" });
  const reuse = h("button", { type: "button", class: "quiet" }, "Reuse");
  stage.style.setProperty("--width", `${first.options.width || 0}px`);
  let job = first;
  let wasOver = isOver(first);
  let isHung = false;

  reuse.addEventListener("click", () => onReuse(job.result?.media.length ? { ...job.options, seed: job.result.seed } : job.options));
  cancel.addEventListener("click", () => {
    cancel.disabled = true;
    cancelJob(job.id, (words) => (say(error, words), (cancel.disabled = false)));
  });

  const update = (now, preview = null) => {
    job = now;
    card.dataset.state = job.state;
    pending.update(job, preview);
    if (job.result && !isHung) {
      isHung = true;
      hang(job, stage, { onFigure, onUse, onReuse, onMade });
    } else if (job.error) stage.replaceChildren();
    else if (!isHung && !stage.contains(pending.element)) stage.append(pending.element);
    cancel.hidden = isOver(job);
    cancel.disabled = Boolean(job.cancel_requested);
    cancel.textContent = job.cancel_requested ? "Cancelling…" : "Cancel";
    say(error, job.state === "cancelled" ? "" : job.error?.message || "");
    say(note, noteOf(job));
    facts.replaceChildren(...factsOf(job));
    if (isOver(job) && !wasOver) {
      announce(job.result ? `Done: ${title}` : job.error?.message || "Cancelled.");
      onOver();
    }
    wasOver = isOver(job);
  };

  label.append(
    h("p", { class: "prompt" }, title),
    first.options.negative_prompt ? h("p", { class: "without" }, `without ${first.options.negative_prompt}`) : "",
    pending.status, facts, note, error,
    h("div", { class: "row" }, cancel, reuse, h("time", { datetime: first.created_at }, moment(first.created_at))));
  update(first);
  watch(first, update);
  return card;
}

function hang(job, stage, { onFigure, onUse, onReuse, onMade }) {
  stage.replaceChildren();
  stage.classList.toggle("several", job.result.media.length > 1);
  for (const media of job.result.media) {
    const made = buildFigure({ ...media, alt: media.alt || job.options.prompt }, { parent: job, onUse, onReuse, onMade });
    stage.append(made.figure);
    onFigure(media.id, made);
  }
}

/** The empty frame with its preview, and the line that says how far it is. */
function buildPending(job) {
  const preview = h("img", { alt: "", hidden: true });
  const frame = h("div", { class: "mat pending" }, preview);
  const bar = h("progress", { "aria-label": "Progress" });
  const words = h("span", { class: "how-far" });
  const status = h("div", { class: "progress" }, bar, words);
  const { width, height } = job.options;
  if (width && height) frame.style.aspectRatio = `${width} / ${height}`;

  const update = (now, picture) => {
    status.hidden = isOver(now);
    if (picture) {
      preview.src = picture;
      preview.hidden = false;
    }
    if (now.progress?.steps) {
      bar.max = now.progress.steps;
      bar.value = now.progress.step;
    } else bar.removeAttribute("value");
    words.textContent = howFar(now);
  };
  return { element: frame, status, update };
}

function howFar(job) {
  const left = seconds(job.eta_s);
  if (job.arrival) return arriving(job, left);
  if (job.state === "queued") {
    const place = job.position ? `Queued, number ${job.position}` : "Queued";
    return left ? `${place} · ${left}` : place;
  }
  if (!job.progress?.steps) return "Starting…";
  const step = `Step ${job.progress.step} of ${job.progress.steps}`;
  return left && job.progress.step < job.progress.steps ? `${step} · ${left} left` : step;
}

/** The model that it waits for is on its way. */
function arriving({ arrival, position }, left) {
  const percent = arrival.total ? `, ${Math.floor((100 * arrival.done) / arrival.total)} %` : "";
  const what = { downloading: `Downloading ${arrival.title}${percent}`, checking: `Checking ${arrival.title}` }[arrival.stage] || `Getting ${arrival.title} ready`;
  return [what, left, position ? `number ${position}` : ""].filter(Boolean).join(" · ");
}

function noteOf(job) {
  if (job.state === "cancelled") return job.error?.message || "Cancelled.";
  return (job.result?.notes || []).filter((note) => !isDemoNote(note)).join("\n");
}

function factsOf(job) {
  const { result, options } = job;
  const size = options.width && options.height ? `${options.width} × ${options.height}` : null;
  const model = result?.model || options.model;
  const facts = [
    ["Seed", result?.seed ?? options.seed],
    ["Model", isDemo(model) ? `${model} (demo)` : model],
    ["Size", size],
    ["Steps", options.steps],
    ["Took", result?.seconds ? `${result.seconds < 10 ? result.seconds.toFixed(1) : Math.round(result.seconds)} s` : null],
  ];
  return facts.filter(([, value]) => value !== null && value !== undefined && value !== "")
    .map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, String(value))));
}
