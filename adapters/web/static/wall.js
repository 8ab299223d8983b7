// The wall: everything asked so far, newest first. Questions hang under the picture they are about.

import { get } from "./api.js";
import { byId, h, moment, say } from "./dom.js";
import { buildFigure } from "./figure.js";
import { showPhoto } from "./photo.js";
import { reuse } from "./composer.js";
import { buildWork } from "./work.js";

const PAGE = 20;
const MAKES_PICTURES = new Set(["imagine", "edit", "upscale"]);
const shown = new Set();
const figures = new Map();
const photoCards = new Map();
let next = null;
let words = "";
let whenOver = () => {};

export function setUpWall(onOver) {
  whenOver = onOver;
  byId("older").addEventListener("click", () => load(next));
  const search = byId("search");
  search.addEventListener("submit", (event) => event.preventDefault());
  let timer = null;
  byId("words").addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(restart, 250);
  });
  return load(null);
}

async function restart() {
  words = byId("words").value.trim();
  await load(null);
}

async function load(before) {
  const cards = byId("cards");
  const asked = words;
  cards.setAttribute("aria-busy", "true");
  say(byId("wall-error"), "");
  try {
    const query = new URLSearchParams({ limit: PAGE, ...(asked && { q: asked }), ...(before && { before }) });
    const page = await get(`/jobs?${query}`);
    if (asked !== words) return;
    if (before === null) clear();
    hangAll(page.jobs);
    next = page.next;
  } catch (problem) {
    say(byId("wall-error"), problem.message);
  } finally {
    cards.removeAttribute("aria-busy");
    byId("older").hidden = next === null;
    sayEmpty();
  }
}

function clear() {
  byId("cards").replaceChildren();
  for (const known of [shown, figures, photoCards]) known.clear();
  next = null;
}

function sayEmpty() {
  const isEmpty = shown.size === 0;
  const none = words ? `Nothing found for “${words}”.` : "Nothing here yet. Type a prompt above and press Enter.";
  say(byId("empty"), isEmpty ? none : "");
}

/** Pictures first, so that the questions about them find their place. */
function hangAll(jobs) {
  jobs.filter((job) => MAKES_PICTURES.has(job.command)).forEach(hang);
  jobs.filter((job) => !MAKES_PICTURES.has(job.command)).reverse().forEach(hang);
}

/** Show a job where it belongs. */
export function hang(job) {
  if (shown.has(job.id)) return;
  shown.add(job.id);
  if (MAKES_PICTURES.has(job.command)) place(buildWork(job, { onFigure, onUse, onReuse: reuse, onOver: whenOver, onMade: hang }));
  else (figures.get(job.images[0]?.id) || photoFigure(job)).hold(job);
  say(byId("empty"), "");
}

/** A picture that no work on the wall has made: an upload, or an older work's. */
function photoFigure(job) {
  const media = { id: job.images[0].id, alt: "The photo asked about" };
  const made = buildFigure(media, { onUse, onReuse: reuse, onMade: hang });
  figures.set(media.id, made);
  const label = h("div", { class: "label" },
    h("p", { class: "prompt" }, "A photo"),
    h("div", { class: "row" }, h("time", { datetime: job.created_at }, moment(job.created_at))));
  const card = h("article", { class: "card photo-card", "data-at": job.created_at, "aria-label": "A photo and what was asked about it" },
    h("div", { class: "stage" }, made.figure), label);
  made.jobs = [];
  const { hold } = made;
  made.hold = (one) => (made.jobs.push(one), hold(one));
  photoCards.set(media.id, { card, made });
  place(card);
  return made;
}

/** A work's picture takes over the questions that hung under a card of their own. */
function onFigure(id, made) {
  const alone = photoCards.get(id);
  if (alone) {
    photoCards.delete(id);
    alone.card.remove();
    const thread = alone.card.querySelector(".thread");
    const target = made.figure.querySelector(".thread");
    target.append(...thread.children);
    target.hidden = target.children.length === 0;
  }
  figures.set(id, made);
}

function onUse(media) {
  void showPhoto({ id: media.id, parameters: null }, "A picture from the wall");
  byId("composer").scrollIntoView({ block: "center", behavior: "smooth" });
}

function place(card) {
  const cards = byId("cards");
  const after = [...cards.children].find((other) => other.dataset.at < card.dataset.at);
  cards.insertBefore(card, after || null);
}
