// Pictures and jobs related to a picture: its sources, its derivatives, and questions about it.

import { get, mediaUrl } from "../core/api.js";
import { onJobEvent } from "../core/events.js";
import { icon } from "../core/icons.js";
import { batch, html, nothing, repeat, signal } from "../core/render.js";
import { isFinished, jobs, jobSignal, putJobs } from "../core/store.js";
import { t } from "../core/text.js";
import { nameOf, shorten, promptOf } from "../core/titles.js";
import { isBlurred } from "./shown.js";

const MAX_SHOWN = 100;

/** Ids of jobs that were given this picture or follow from its job, oldest first. */
export const relatedIds = signal([]);
const parentId = signal(null);
let stop = null;
let current = "";

/** Tracks what is related to a picture from now on. @param {object} job @param {string | undefined} mediaId */
export function followRelated(job, mediaId) {
  const mine = `${job.id} ${mediaId}`;
  if (mine === current) return;
  current = mine;
  stop?.();
  const isOf = (other) => other.parent === job.id || (mediaId && other.images.some((image) => image.id === mediaId));
  batch(() => {
    relatedIds.value = isFinished(job) && !job.result?.media.length ? [job.id] : [];
    parentId.value = job.parent;
  });
  stop = onJobEvent((name, other) => {
    if (name === "erased") relatedIds.value = relatedIds.peek().filter((id) => id !== other.id);
    else if (isOf(other)) add(other);
  });
  void load(job, mediaId, mine);
}

export function stopRelated() {
  stop?.();
  stop = null;
  current = "";
}

function add(...found) {
  const ids = new Set([...relatedIds.peek(), ...found.map((one) => one.id)]);
  const createdAt = (id) => jobs.peek().get(id)?.peek().created_at ?? "";
  relatedIds.value = [...ids].sort((one, other) => (createdAt(one) < createdAt(other) ? -1 : 1));
}

async function load(job, mediaId, mine) {
  const queries = [{ parent: job.id }, ...(mediaId ? [{ image: mediaId }] : [])].map((query) => get(`/jobs?${new URLSearchParams({ ...query, limit: String(MAX_SHOWN) })}`).catch(() => ({ jobs: [] })));
  const parent = job.parent && !jobSignal(job.parent) ? get(`/jobs/${job.parent}`).catch(() => null) : null;
  const pages = await Promise.all([...queries, parent]);
  if (current !== mine) return;
  const found = pages.slice(0, -1).flatMap((page) => page.jobs).filter((one) => one.id !== job.id);
  batch(() => {
    putJobs(...found, ...(pages.at(-1) ? [pages.at(-1)] : []));
    add(...found);
  });
}

/** The address of the picture with this id, as far as it is known. */
export function findPicture(mediaId, preferred = null) {
  const places = [preferred && jobs.value.get(preferred)?.value, ...[...jobs.value.values()].map((one) => one.peek())];
  for (const job of places) {
    const index = job?.result?.media.findIndex((media) => media?.id === mediaId) ?? -1;
    if (index >= 0) return { job, number: index + 1 };
  }
  return null;
}

const thumbnailView = (mediaId, label, href) => {
  const image = html`<img class=${isBlurred(mediaId) ? "tile-blurred" : ""} src=${mediaUrl(mediaId, 256)} alt=${label} loading="lazy" decoding="async" width="72" height="72">`;
  return html`<li>${href ? html`<a href=${href}>${image}</a>` : image}</li>`;
};

const ROLES = { init: () => t("the photo"), mask: () => t("the mask"), control: () => t("a control"), reference: () => t("a reference") };

function parentsOf(job) {
  const given = job.images.map((image) => ({ id: image.id, found: findPicture(image.id, job.parent), role: image.role }));
  const parent = job.parent ? jobs.value.get(job.parent)?.value : null;
  const first = parent?.result?.media.find(Boolean);
  if (first && !given.some((one) => one.found?.job.id === parent.id)) given.push({ id: first.id, found: { job: parent, number: parent.result.media.indexOf(first) + 1 }, role: "parent" });
  return given.map(({ id, found, role }) => thumbnailView(id, found ? nameOf(found.job, found.number) : t("Made from {what}", { what: ROLES[role]?.() ?? role }), found && `/p/${found.job.id}/${found.number}`));
}

function childrenOf(job) {
  const made = relatedIds.value.map((id) => jobs.value.get(id)?.value).filter((one) => one && one.id !== job.id);
  const shown = made.flatMap((one) => (one.result?.media ?? []).flatMap((media, index) => (media ? [{ media, one, number: index + 1 }] : [])));
  const waiting = made.filter((one) => !isFinished(one) && !one.options.question);
  return [
    ...waiting.map((one) => html`<li class="viewer-waiting"><span class="spinner" aria-hidden="true"></span><span>${shorten(promptOf(one), 24)}</span></li>`),
    ...shown.reverse().map(({ media, one, number }) => thumbnailView(media.id, nameOf(one, number), `/p/${one.id}/${number}`)),
  ];
}

/** @param {object} job */
export function ancestryView(job) {
  const [parents, children] = [parentsOf(job), childrenOf(job)];
  if (!parents.length && !children.length) return nothing;
  return html`
    <section class="viewer-section" aria-labelledby="viewer-ancestry">
      <h2 id="viewer-ancestry">${t("Related pictures")}</h2>
      ${parents.length ? html`<h3>${t("Made from")}</h3><ul class="viewer-thumbnails">${parents}</ul>` : nothing}
      ${children.length ? html`<h3>${t("Made from this")}</h3><ul class="viewer-thumbnails">${children}</ul>` : nothing}
    </section>`;
}

/** The pictures of one request, side by side. @param {object} job @param {number} number */
export function stripView(job, number) {
  const media = job.result?.media ?? [];
  if (media.length < 2) return nothing;
  return html`
    <nav class="viewer-strip" aria-label=${t("Pictures of this request")}>
      ${repeat(media, (_one, index) => index, (one, index) => (one
        ? html`<a class="thumb" href=${`/p/${job.id}/${index + 1}`} aria-current=${index + 1 === number ? "true" : nothing}><img class=${isBlurred(one.id) ? "tile-blurred" : ""} src=${mediaUrl(one.id, 256)} alt=${t("Picture {n}", { n: index + 1 })} width="64" height="64" decoding="async"></a>`
        : html`<span class="thumb" title=${t("Deleted")}>${icon("trash")}<span class="visually-hidden">${t("Picture {n} was deleted", { n: index + 1 })}</span></span>`))}
    </nav>`;
}
