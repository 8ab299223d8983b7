// One picture on the wall, with what was asked about it underneath.

import { get, pictureUrl, post, remove } from "./api.js";
import { announce, h, say, seconds } from "./dom.js";
import { isOver, learn, watch } from "./watch.js";

const SUFFIX = { "image/png": "png", "image/jpeg": "jpg", "image/webp": "webp", "image/gif": "gif" };

const ON_ITS_WAY = {
  ask: "The question is on its way.",
  caption: "The caption is on its way.",
  describe: "The prompts are on their way.",
  upscale: "The larger picture is on its way.",
};

/**
 * A figure for the picture `media` ({ id, media_type, width, height, alt, spoiler }).
 *
 * `parent` is the job it came from, or null for a photo; `onUse` puts it on the desk, `onReuse(options)` a prompt;
 * `onMade(job)` hangs a picture that was made from it.
 */
export function buildFigure(media, { parent = null, onUse, onReuse, onMade }) {
  const thread = h("ol", { class: "thread", "aria-label": "Questions and answers" });
  const image = h("img", { alt: media.alt || "Picture", width: media.width || null, height: media.height || null });
  const link = h("a", { class: "mat", target: "_blank", rel: "noopener", "aria-label": `Open the picture: ${media.alt || "a photo"}` }, image);
  const download = h("a", { class: "quiet button", download: `easel-${media.id.slice(0, 12)}.${SUFFIX[media.media_type] || "png"}` }, "Download");
  const error = h("p", { class: "error", role: "alert", hidden: true });
  const figure = h("figure", { class: "picture", "data-media": media.id }, link);
  if (media.spoiler) hide(figure, link);
  const entries = new Map();

  /** Show a caption or ask job in the thread; a second time updates it. */
  const hold = (job) => {
    if (entries.has(job.id)) return entries.get(job.id)(job);
    const { item, update } = buildEntry(job, onReuse);
    entries.set(job.id, update);
    const after = [...thread.children].find((other) => other.dataset.at > job.created_at);
    thread.insertBefore(item, after || null);
    thread.hidden = false;
    watch(job, update);
    return undefined;
  };

  const send = async (command, options) => {
    say(error, "");
    try {
      const accepted = await post("/jobs", { command, options, images: [media.id], parent: parent?.id || null });
      if (command === "upscale") onMade(await get(`/jobs/${accepted.id}`));
      else hold({ ...accepted, command, options, images: [{ id: media.id }], created_at: new Date().toISOString() });
      announce(ON_ITS_WAY[command]);
      return true;
    } catch (problem) {
      say(error, problem.message);
      return false;
    }
  };

  thread.hidden = true;
  figure.append(
    h("figcaption", {},
      thread,
      buildQuestion(media, (question) => send("ask", { question })),
      error,
      h("div", { class: "row picture-tools" },
        h("button", { type: "button", class: "quiet", click: () => send("caption", {}) }, "Caption"),
        h("button", { type: "button", class: "quiet", click: () => send("describe", {}) }, "Describe"),
        h("button", { type: "button", class: "quiet", click: () => send("upscale", { prompt: parent?.options.prompt || "" }) }, "Upscale"),
        h("button", { type: "button", class: "quiet", click: () => onUse(media) }, "Start from it"),
        download)));
  pictureUrl(media.id).then(
    (url) => (image.src = link.href = download.href = url),
    (problem) => say(error, problem.message),
  );
  return { figure, hold };
}

/** Blur a picture until it is clicked; a click on it does not open it before. */
function hide(figure, link) {
  const show = h("button", { type: "button", class: "show-spoiler", click: () => {
    figure.classList.remove("spoiler");
    link.removeAttribute("inert");
    show.remove();
    link.focus();
  } }, "Show this picture");
  figure.classList.add("spoiler");
  link.setAttribute("inert", "");
  link.after(show);
}

function buildQuestion(media, send) {
  const id = `ask-${media.id.slice(0, 16)}-${Math.random().toString(36).slice(2, 8)}`;
  const input = h("input", { id, type: "text", maxlength: 500, placeholder: "Ask about this picture", autocomplete: "off" });
  const button = h("button", { type: "submit" }, "Ask");
  const submit = async (event) => {
    event.preventDefault();
    if (button.disabled) return;
    if (!input.value.trim()) return void input.focus();
    button.disabled = true;
    if (await send(input.value)) input.value = "";
    button.disabled = false;
  };
  return h("form", { class: "row question", submit, novalidate: true },
    h("label", { class: "unseen", for: id }, "Ask about this picture"), input, button);
}

/** One question or caption with its answer. */
function buildEntry(first, onReuse) {
  const answer = h("p", { class: "answer" });
  const cancel = h("button", { type: "button", class: "quiet" }, "Cancel");
  const asked = first.command === "ask" ? first.options.question : first.command === "describe" ? "Prompts" : "Caption";
  const item = h("li", { "data-at": first.created_at, "data-job": first.id, "data-kind": first.command },
    h("p", { class: "asked" }, asked), answer, cancel);
  let wasOver = isOver(first);
  cancel.addEventListener("click", () => cancelJob(first.id, (words) => (answer.textContent = words)));

  const update = (job) => {
    item.dataset.state = job.state;
    cancel.hidden = isOver(job);
    answer.classList.toggle("error", Boolean(job.error) && job.state !== "cancelled");
    if (job.command === "describe" && job.result?.text) {
      answer.replaceChildren(...job.result.text.split("\n").map((prompt) =>
        h("button", { type: "button", class: "quiet", title: "Bring it to the desk", click: () => onReuse({ prompt }) }, prompt)));
    } else answer.textContent = wordsOf(job);
    if (isOver(job) && !wasOver) announce(`${asked}: ${answer.textContent}`);
    wasOver = isOver(job);
  };
  update(first);
  return { item, update };
}

function wordsOf(job) {
  if (job.result) return job.result.text || "No answer.";
  if (job.error) return job.error.message;
  if (job.state === "queued") return job.position > 1 ? `Waiting, number ${job.position}…` : "Waiting…";
  const left = seconds(job.eta_s);
  return left ? `Looking… ${left} left` : "Looking…";
}

export async function cancelJob(id, complain) {
  try {
    learn(await remove(`/jobs/${id}`));
  } catch (problem) {
    complain(problem.message);
  }
}
