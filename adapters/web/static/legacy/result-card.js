// One picture with its actions, and the questions about it underneath.

import { get, imageUrl, post, remove } from "./api.js";
import { answerOf, labelOf, pictureActions, titleOf } from "./commands.js";
import { announce, h, setText } from "./dom.js";
import { isFinished, updateJob, watchJob } from "./job-stream.js";
import { progressText } from "./progress-text.js";

const SUFFIX = { "image/png": "png", "image/jpeg": "jpg", "image/webp": "webp", "image/gif": "gif" };

/**
 * A figure for the picture `media` ({ id, media_type, width, height, alt, spoiler }).
 *
 * `parent` is the job that generated it, or null for an upload; `onUseAsInput(media)` passes it to the composer,
 * `onReuse(options)` a prompt; `onNewJob(job)` shows a job that was started from it.
 */
export function buildResultCard(media, { parent = null, onUseAsInput, onReuse, onNewJob }) {
  const thread = h("ol", { class: "thread", "aria-label": "Questions and answers" });
  const image = h("img", { alt: media.alt || "Picture", width: media.width || null, height: media.height || null });
  const link = h("a", { class: "frame", target: "_blank", rel: "noopener", "aria-label": `Open the picture: ${media.alt || "upload"}` }, image);
  const download = h("a", { class: "subtle button", download: `easel-${media.id.slice(0, 12)}.${SUFFIX[media.media_type] || "png"}` }, "Download");
  const error = h("p", { class: "error", role: "alert", hidden: true });
  const figure = h("figure", { class: "picture", "data-media": media.id }, link);
  if (media.spoiler) hideSpoiler(figure, link);
  const entries = new Map();

  /** Shows a job about this picture in the thread; a second call updates it. */
  const addEntry = (job) => {
    if (entries.has(job.id)) return entries.get(job.id)(job);
    const { item, update } = buildEntry(job, onReuse);
    entries.set(job.id, update);
    const after = [...thread.children].find((other) => other.dataset.at > job.created_at);
    thread.insertBefore(item, after || null);
    thread.hidden = false;
    watchJob(job, update);
    return undefined;
  };

  const submit = async (command, options) => {
    setText(error, "");
    try {
      const accepted = await post("/jobs", { command, options, images: [media.id], parent: parent?.id || null });
      if (answerOf(command) === "images") onNewJob(await get(`/jobs/${accepted.id}`));
      else addEntry({ ...accepted, command, options, images: [{ id: media.id }], created_at: new Date().toISOString() });
      announce(`${labelOf(command)}: sent.`);
      return true;
    } catch (problem) {
      setText(error, problem.message);
      return false;
    }
  };

  thread.hidden = true;
  figure.append(
    h("figcaption", {},
      thread,
      buildQuestionForm(media, (question) => submit("ask", { question })),
      error,
      h("div", { class: "row picture-actions" },
        ...pictureActions().map((command) =>
          h("button", { type: "button", class: "subtle", click: () => submit(command.name, promptFor(command, parent)) }, labelOf(command.name))),
        h("button", { type: "button", class: "subtle", click: () => onUseAsInput(media) }, "Start from it"),
        download)));
  imageUrl(media.id).then(
    (url) => (image.src = link.href = download.href = url),
    (problem) => setText(error, problem.message),
  );
  return { figure, addEntry };
}

/** The prompt that the picture was made from, for a command that can use it. */
function promptFor(command, parent) {
  return command.options.some((option) => option.name === "prompt") ? { prompt: parent?.options.prompt || "" } : {};
}

/** Blurs a picture until its button is clicked; until then a click on it does not open it. */
function hideSpoiler(figure, link) {
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

function buildQuestionForm(media, send) {
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
  return h("form", { class: "row question-form", submit, novalidate: true },
    h("label", { class: "visually-hidden", for: id }, "Ask about this picture"), input, button);
}

/** One question, caption or list of prompts, with its answer. */
function buildEntry(firstJob, onReuse) {
  const answer = h("p", { class: "answer" });
  const cancel = h("button", { type: "button", class: "subtle" }, "Cancel");
  const title = titleOf(firstJob);
  const item = h("li", { "data-at": firstJob.created_at, "data-job": firstJob.id, "data-command": firstJob.command },
    h("p", { class: "question-text" }, title), answer, cancel);
  let wasFinished = isFinished(firstJob);
  cancel.addEventListener("click", () => cancelJob(firstJob.id, (text) => (answer.textContent = text)));

  const update = (job) => {
    item.dataset.state = job.state;
    cancel.hidden = isFinished(job);
    answer.classList.toggle("error", Boolean(job.error) && job.state !== "cancelled");
    if (answerOf(job.command) === "lines" && job.result?.text) {
      answer.replaceChildren(...job.result.text.split("\n").map((prompt) =>
        h("button", { type: "button", class: "subtle", title: "Use this prompt", click: () => onReuse({ prompt }) }, prompt)));
    } else answer.textContent = answerText(job);
    if (isFinished(job) && !wasFinished) announce(`${title}: ${answer.textContent}`);
    wasFinished = isFinished(job);
  };
  update(firstJob);
  return { item, update };
}

function answerText(job) {
  if (job.result) return job.result.text || "No answer.";
  if (job.error) return job.error.message;
  return progressText(job, (_tokens, left) => (left ? `Answering… ${left} left` : "Answering…"));
}

export async function cancelJob(id, onError) {
  try {
    updateJob(await remove(`/jobs/${id}`));
  } catch (problem) {
    onError(problem.message);
  }
}
