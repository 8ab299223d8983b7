// Actions on the shown picture.

import { get, mediaUrl, post } from "../core/api.js";
import { storeJob } from "../core/events.js";
import { icon } from "../core/icons.js";
import { html, nothing } from "../core/render.js";
import { goBack, navigate } from "../core/router.js";
import { commands } from "../core/store.js";
import { t } from "../core/text.js";
import { showToast } from "../core/toast.js";
import { deletePictures, isFavourite, toggleFavourite } from "../gallery/actions.js";
import { collect } from "../gallery/collections.js";
import { candidatesOf, compared, toggleCompare } from "./compare.js";
import { next, previous, shownEntry, shownJob, shownKey, shownMedia } from "./shown.js";

const ENDINGS = { "image/png": "png", "image/jpeg": "jpg", "image/webp": "webp" };

/** Replaces the history entry, so Back leaves the viewer. */
export const show = (entry) => entry && navigate(`/p/${entry.key}`, { replace: true });
export const close = () => goBack("/gallery");

/** Submits a follow-up request. */
async function submit(body, message) {
  try {
    const ticket = await post("/jobs", { ...body, parent: shownJob.peek().id });
    storeJob(await get(`/jobs/${ticket.id}`));
    showToast(message, { action: { label: t("Queue"), run: () => navigate("/queue") }, timeoutMs: 6000 });
  } catch (error) {
    showToast(error.message, { kind: "error" });
  }
}

/** The same request with a new seed. */
export async function vary() {
  const entry = shownEntry.peek();
  if (entry?.kind !== "picture") return;
  try {
    const recipe = await get(`/jobs/${entry.job}/recipe?picture=${entry.number}`);
    const images = recipe.images.filter((image) => image.available).map(({ available: _available, ...image }) => image);
    await submit({ command: recipe.command, options: recipe.all_but_seed, images }, t("Variation added to the queue."));
  } catch (error) {
    showToast(error.message, { kind: "error" });
  }
}

const submitFor = (command, options, message) => () => shownMedia.peek() && submit({ command, options, images: [shownMedia.peek().id] }, message);

export const startFromIt = () => shownMedia.peek() && navigate(`/?image=${shownMedia.peek().id}&mode=imagine`);
export const edit = () => shownMedia.peek() && navigate(`/edit/${shownMedia.peek().id}`);
export const favourite = () => shownEntry.peek()?.kind === "picture" && toggleFavourite([shownEntry.peek()]);

export function compare() {
  const entry = shownEntry.peek();
  if (entry?.kind === "picture" && !toggleCompare(shownJob.peek(), entry.number)) showToast(t("There is no other picture to compare with."));
}

/** Deletes the picture and shows the next one; undo shows it again. */
export function erase() {
  const entry = shownEntry.peek();
  if (!entry) return;
  const following = next.peek() ?? previous.peek();
  deletePictures([entry], { onUndo: () => location.pathname.startsWith("/p/") && show(entry) });
  if (following) void show(following);
  else close();
}

const fileName = (media) => `easel-${media.id.slice(0, 12)}.${ENDINGS[media.media_type] ?? "png"}`;

export function download() {
  const media = shownMedia.peek();
  if (media) Object.assign(document.createElement("a"), { href: mediaUrl(media.id), download: fileName(media) }).click();
}

/** Copies the picture as PNG, the only format that clipboards support. */
export async function copyPicture() {
  const media = shownMedia.peek();
  if (!media) return;
  if (!window.ClipboardItem || !navigator.clipboard) return void showToast(t("Copying pictures needs HTTPS. Use Download instead."), { kind: "error" });
  try {
    await navigator.clipboard.write([new ClipboardItem({ "image/png": toPng(media) })]);
    showToast(t("Picture copied."));
  } catch {
    showToast(t("The browser blocked copying. Use Download instead."), { kind: "error" });
  }
}

async function toPng(media) {
  const blob = await (await fetch(mediaUrl(media.id))).blob();
  if (blob.type === "image/png") return blob;
  const bitmap = await createImageBitmap(blob);
  const canvas = Object.assign(document.createElement("canvas"), { width: bitmap.width, height: bitmap.height });
  canvas.getContext("2d").drawImage(bitmap, 0, 0);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}

const reuse = (how) => () => navigate(`/?${new URLSearchParams({ reuse: shownJob.peek().id, how, picture: String(shownEntry.peek()?.number ?? 1) })}`);

const isPossible = (name) => commands.value.some((one) => one.name === name && one.models.length);

/** A menu that opens below its button. `entries`: [label, what it does]. */
const menuView = (name, label, entries) => html`
  <details class="viewer-menu" @focusout=${(event) => !event.currentTarget.contains(event.relatedTarget) && event.relatedTarget && (event.currentTarget.open = false)}
    @keydown=${(event) => event.key === "Escape" && event.currentTarget.open && (event.preventDefault(), (event.currentTarget.open = false), event.currentTarget.firstElementChild.focus())}>
    <summary class="button">${icon(name)}<span>${label}</span></summary>
    <div class="viewer-menu-list">${entries.map(([text, run]) => html`
      <button type="button" class="menu-item" @click=${(event) => { event.currentTarget.closest("details").open = false; void run(); }}>${text}</button>`)}</div>
  </details>`;

function extensionsOf() {
  const entries = [
    ["zoom", t("Extend on all sides"), {}], ["square", t("Make it square"), {}],
    ["pan", t("Extend to the left"), { direction: "left" }], ["pan", t("Extend to the right"), { direction: "right" }],
    ["pan", t("Extend upwards"), { direction: "up" }], ["pan", t("Extend downwards"), { direction: "down" }],
  ];
  return entries.filter(([command]) => isPossible(command)).map(([command, label, options]) => [label, submitFor(command, options, t("Added to the queue."))]);
}

const buttonView = (name, label, run, { isPressed = null, key = "" } = {}) => html`
  <button type="button" class="viewer-action" title=${key ? t("{label} ({key})", { label, key }) : label} aria-pressed=${isPressed === null ? nothing : String(isPressed)} aria-keyshortcuts=${key || nothing} @click=${run}>${icon(name)}<span>${label}</span></button>`;

const reuseMenu = () => menuView("reuse", t("Reuse"), [[t("Prompt only"), reuse("words")], [t("Everything except the seed"), reuse("all_but_seed")], [t("Everything"), reuse("all")]]);

/** Actions on an answer without pictures. */
const textActions = () => html`<div class="viewer-actions">${reuseMenu()}${buttonView("trash", t("Delete"), erase, { key: "Delete" })}</div>`;

export function actionsView() {
  const [job, entry] = [shownJob.value, shownEntry.value];
  if (!job || !entry) return nothing;
  if (entry.kind !== "picture") return textActions();
  const changes = extensionsOf();
  return html`
    <div class="viewer-actions" data-key-of=${shownKey.value}>
      ${buttonView("vary", t("Vary"), vary, { key: "V" })}
      ${buttonView("photo", t("Start from it"), startFromIt)}
      ${buttonView("edit", t("Edit"), edit, { key: "E" })}
      ${commands.value.some((one) => one.name === "upscale") ? buttonView("upscale", t("Upscale"), submitFor("upscale", {}, t("Added to the queue."))) : nothing}
      ${changes.length ? menuView("more", t("Extend"), changes) : nothing}
      ${reuseMenu()}
      ${candidatesOf(job, entry.number).length ? buttonView("compare", t("Compare"), compare, { isPressed: Boolean(compared.value), key: "C" }) : nothing}
      ${buttonView("heart", t("Favourite"), favourite, { isPressed: isFavourite(entry), key: "F" })}
      ${buttonView("collection", t("Collect"), () => collect([entry]))}
      ${buttonView("download", t("Download"), download, { key: "D" })}
      ${buttonView("copy", t("Copy"), copyPicture)}
      ${buttonView("trash", t("Delete"), erase, { key: "Delete" })}
    </div>`;
}
