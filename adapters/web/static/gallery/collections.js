// Collections: named sets of pictures. Choosing one for a selection, and creating, renaming and deleting them.

import { get, mediaUrl, post, put, remove } from "../core/api.js";
import { confirmDialog, openDialog } from "../core/dialog.js";
import { icon } from "../core/icons.js";
import { batch, html, nothing, repeat, signal } from "../core/render.js";
import { fieldError, loadingView } from "../core/states.js";
import { jobSignal } from "../core/store.js";
import { t, tn } from "../core/text.js";
import { showToast } from "../core/toast.js";

const MAX_NAME = 80;

/** All collections, by name; null: not loaded. */
export const collections = signal(null);
const problem = signal("");
const editedId = signal(null);

export async function loadCollections() {
  try {
    collections.value = (await get("/collections")).collections;
  } catch (error) {
    collections.value ??= [];
    problem.value = error.message;
  }
}

/** Whether it worked. */
async function attempt(work) {
  problem.value = "";
  try {
    await work();
    return true;
  } catch (error) {
    problem.value = error.message;
    return false;
  } finally {
    await loadCollections().catch(() => null);
  }
}

const setOf = (job, number, change) => {
  const known = jobSignal(job);
  const result = known?.peek().result;
  const media = result?.media[number - 1];
  if (media) known.value = { ...known.peek(), result: { ...result, media: result.media.with(number - 1, { ...media, collections: change(media.collections) }) } };
};

async function addTo(id, pictures) {
  for (const { job, number } of pictures) await put(`/collections/${id}/pictures/${job}/${number}`);
  batch(() => pictures.forEach(({ job, number }) => setOf(job, number, (ids) => [...new Set([...ids, id])])));
}

/** @param {string} id of the collection @param {import("./actions.js").Picture[]} pictures */
export async function removeFrom(id, pictures) {
  try {
    for (const { job, number } of pictures) {
      await remove(`/collections/${id}/pictures/${job}/${number}`);
      setOf(job, number, (ids) => ids.filter((other) => other !== id));
    }
    showToast(tn(pictures.length, "Removed from the collection.", "{n} pictures removed from the collection."));
  } catch (error) {
    showToast(error.message, { kind: "error" });
  }
  void loadCollections();
}

const nameForm = (label, value, onSubmit) => html`
  <form class="row gallery-name-form" @submit=${(event) => { event.preventDefault(); void onSubmit(event.target.elements.name); }}>
    <div class="field"><label for="gallery-name">${label}</label><input id="gallery-name" name="name" maxlength=${MAX_NAME} .value=${value} required autocomplete="off"></div>
    <button class="primary">${value ? t("Rename") : t("Create")}</button>
  </form>`;

const coverView = (one) => html`
  <span class="gallery-cover">${one.cover ? html`<img src=${mediaUrl(one.cover, 256)} alt="" loading="lazy" decoding="async">` : icon("collection")}</span>
  <span class="gallery-collection-name">${one.name}</span><span class="hint number">${tn(one.count, "{n} picture", "{n} pictures")}</span>`;

/** Asks which collection the pictures go into, and adds them. @param {import("./actions.js").Picture[]} given */
export async function collect(given) {
  const pictures = given.filter((one) => one.kind === "picture");
  if (!pictures.length) return void showToast(t("Only pictures can be collected: answers stay where they are."));
  problem.value = "";
  void loadCollections();
  const addAndClose = async (id, close) => (await attempt(() => addTo(id, pictures))) && close(id);
  const create = (field, close) => attempt(async () => addTo((await post("/collections", { name: field.value })).id, pictures)).then((done) => done && close(true));
  const done = await openDialog({
    title: tn(pictures.length, "Add to a collection", "Add {n} pictures to a collection"),
    view: (close) => html`
      ${collections.value ? html`<ul class="gallery-collections">${repeat(collections.value, (one) => one.id, (one) => html`
        <li><button type="button" class="menu-item gallery-collection" @click=${() => addAndClose(one.id, close)}>${coverView(one)}</button></li>`)}</ul>` : loadingView()}
      ${nameForm(t("New collection"), "", (field) => create(field, close))}
      ${fieldError(problem.value)}`,
  });
  if (done) showToast(tn(pictures.length, "Added to the collection.", "{n} pictures added to the collection."));
}

async function erase(one) {
  const text = t("“{name}” goes; its pictures stay in the gallery.", { name: one.name });
  if (await confirmDialog({ title: t("Delete the collection?"), text, confirm: t("Delete"), isDangerous: true })) await attempt(() => remove(`/collections/${one.id}`));
}

const rename = (one, field) => attempt(() => put(`/collections/${one.id}`, { name: field.value })).then((done) => done && (editedId.value = null));

const rowView = (one, close, onOpen) => (editedId.value === one.id ? html`<li>${nameForm(t("Name"), one.name, (field) => rename(one, field))}</li>` : html`
  <li class="gallery-collection-row">
    <button type="button" class="menu-item gallery-collection" @click=${() => { close(); onOpen(one.id); }}>${coverView(one)}</button>
    <button type="button" class="icon-button" aria-label=${t("Rename {name}", { name: one.name })} @click=${() => (editedId.value = one.id)}>${icon("edit")}</button>
    <button type="button" class="icon-button" aria-label=${t("Delete {name}", { name: one.name })} @click=${() => erase(one)}>${icon("trash")}</button>
  </li>`);

/** Lists the collections, to open, rename, delete and create them. @param {(id: string) => void} onOpen */
export async function manageCollections(onOpen) {
  batch(() => {
    problem.value = "";
    editedId.value = null;
  });
  void loadCollections();
  const create = (field) => attempt(() => post("/collections", { name: field.value })).then((done) => done && (field.value = ""));
  await openDialog({
    title: t("Collections"),
    view: (close) => html`
      ${collections.value ? nothing : loadingView()}
      ${collections.value?.length === 0 ? html`<p class="hint">${t("No collection yet. Select pictures in the gallery and add them to one, or create an empty one here.")}</p>` : nothing}
      <ul class="gallery-collections">${repeat(collections.value ?? [], (one) => one.id, (one) => rowView(one, close, onOpen))}</ul>
      ${editedId.value ? nothing : nameForm(t("New collection"), "", create)}
      ${fieldError(problem.value)}`,
  });
}
