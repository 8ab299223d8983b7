// The gallery: all jobs, newest first. Questions are shown under the picture that they are about.

import { get } from "./api.js";
import { hasOwnCard } from "./commands.js";
import { reusePrompt } from "./composer.js";
import { byId, formatTime, h, setText } from "./dom.js";
import { showInputImage } from "./image-input.js";
import { buildJobCard } from "./job-card.js";
import { buildResultCard } from "./result-card.js";

const PAGE_SIZE = 20;
const shownJobs = new Set();
const resultCards = new Map();
const uploadCards = new Map();
let nextCursor = null;
let searchWords = "";
let onFinished = () => {};

export function setUpGallery(whenFinished) {
  onFinished = whenFinished;
  byId("show-older").addEventListener("click", () => loadPage(nextCursor));
  const search = byId("search");
  search.addEventListener("submit", (event) => event.preventDefault());
  let timer = null;
  byId("search-words").addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(startSearch, 250);
  });
  return loadPage(null);
}

async function startSearch() {
  searchWords = byId("search-words").value.trim();
  await loadPage(null);
}

async function loadPage(before) {
  const cards = byId("cards");
  const words = searchWords;
  cards.setAttribute("aria-busy", "true");
  setText(byId("gallery-error"), "");
  try {
    const query = new URLSearchParams({ limit: PAGE_SIZE, ...(words && { q: words }), ...(before && { before }) });
    const page = await get(`/jobs?${query}`);
    if (words !== searchWords) return;
    if (before === null) clear();
    addJobs(page.jobs);
    nextCursor = page.next;
  } catch (problem) {
    setText(byId("gallery-error"), problem.message);
  } finally {
    cards.removeAttribute("aria-busy");
    byId("show-older").hidden = nextCursor === null;
    showEmptyState();
  }
}

function clear() {
  byId("cards").replaceChildren();
  for (const known of [shownJobs, resultCards, uploadCards]) known.clear();
  nextCursor = null;
}

function showEmptyState() {
  const text = searchWords ? `Nothing found for “${searchWords}”.` : "Nothing here yet. Type a prompt above and press Enter.";
  setText(byId("empty-state"), shownJobs.size === 0 ? text : "");
}

/** Jobs with pictures first, so that questions about them find their card. */
function addJobs(jobs) {
  jobs.filter(hasOwnCard).forEach(addJob);
  jobs.filter((job) => !hasOwnCard(job)).reverse().forEach(addJob);
}

/** Shows a job: a new card, or an entry under the picture that it is about. */
export function addJob(job) {
  if (shownJobs.has(job.id)) return;
  shownJobs.add(job.id);
  if (hasOwnCard(job)) {
    insertCard(buildJobCard(job, { onResultCard, onUseAsInput, onReuse: reusePrompt, onFinished, onNewJob: addJob }));
  } else (resultCards.get(job.images[0]?.id) || addUploadCard(job)).addEntry(job);
  setText(byId("empty-state"), "");
}

/** A card for a picture that no shown job has generated: an upload, or an older job's result. */
function addUploadCard(job) {
  const media = { id: job.images[0].id, alt: "Uploaded picture" };
  const resultCard = buildResultCard(media, { onUseAsInput, onReuse: reusePrompt, onNewJob: addJob });
  resultCards.set(media.id, resultCard);
  const details = h("div", { class: "details" },
    h("p", { class: "prompt" }, "Uploaded picture"),
    h("div", { class: "row" }, h("time", { datetime: job.created_at }, formatTime(job.created_at))));
  const card = h("article", { class: "card upload-card", "data-at": job.created_at, "aria-label": "Uploaded picture and its questions" },
    h("div", { class: "images" }, resultCard.figure), details);
  uploadCards.set(media.id, card);
  insertCard(card);
  return resultCard;
}

/** A job's result takes over the questions from an upload card of the same picture. */
function onResultCard(id, resultCard) {
  const uploadCard = uploadCards.get(id);
  if (uploadCard) {
    uploadCards.delete(id);
    uploadCard.remove();
    const thread = resultCard.figure.querySelector(".thread");
    thread.append(...uploadCard.querySelector(".thread").children);
    thread.hidden = thread.children.length === 0;
  }
  resultCards.set(id, resultCard);
}

function onUseAsInput(media) {
  void showInputImage({ id: media.id, parameters: null }, "A picture from the gallery");
  byId("composer").scrollIntoView({ block: "center", behavior: "smooth" });
}

function insertCard(card) {
  const cards = byId("cards");
  const after = [...cards.children].find((other) => other.dataset.at < card.dataset.at);
  cards.insertBefore(card, after || null);
}
