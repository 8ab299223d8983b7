// The dialogs of collections: choosing one for pictures; creating, renaming and deleting them.

import { mediaUrl, post, put, remove } from "../core/api.js";
import { confirmDialog, openDialog } from "../core/dialog.js";
import { icon } from "../core/icons.js";
import { batch, html, nothing, repeat, signal } from "../core/render.js";
import { fieldError, loadingView } from "../core/states.js";
import { t, tn } from "../core/text.js";
import { showToast } from "../core/toast.js";
import { changeCollections, collections, loadCollections } from "../gallery/collections.js";

const MAX_NAME = 80;
const problem = signal("");
const editedId = signal(null);

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
    await loadCollections();
  }
}

async function addTo(id, pictures) {
  for (const { job, number } of pictures) await put(`/collections/${id}/pictures/${job}/${number}`);
  batch(() => pictures.forEach((one) => changeCollections(one, (ids) => [...new Set([...ids, id])])));
}

const nameForm = (label, value, onSubmit) => html`
  <form class="row collections-form" @submit=${(event) => { event.preventDefault(); void onSubmit(event.target.elements.name); }}>
    <div class="field"><label for="collections-field">${label}</label><input id="collections-field" name="name" maxlength=${MAX_NAME} .value=${value} required autocomplete="off"></div>
    <button class="primary">${value ? t("Rename") : t("Create")}</button>
  </form>`;

const coverView = (one) => html`
  <span class="thumb collections-cover">${one.cover ? html`<img src=${mediaUrl(one.cover, 256)} alt="" loading="lazy" decoding="async">` : icon("collection")}</span>
  <span class="collections-name">${one.name}</span><span class="hint number">${tn(one.count, "{n} picture", "{n} pictures")}</span>`;

/** Asks which collection the pictures go into, and adds them. @param {import("../gallery/actions.js").Picture[]} pictures */
export async function collectPictures(pictures) {
  problem.value = "";
  void loadCollections();
  const addAndClose = async (id, close) => (await attempt(() => addTo(id, pictures))) && close(id);
  const create = (field, close) => attempt(async () => addTo((await post("/collections", { name: field.value })).id, pictures)).then((done) => done && close(true));
  const done = await openDialog({
    title: tn(pictures.length, "Add to a collection", "Add {n} pictures to a collection"),
    view: (close) => html`
      ${collections.value ? html`<ul class="collections-list">${repeat(collections.value, (one) => one.id, (one) => html`
        <li><button type="button" class="menu-item collections-entry" @click=${() => addAndClose(one.id, close)}>${coverView(one)}</button></li>`)}</ul>` : loadingView()}
      ${nameForm(t("New collection"), "", (field) => create(field, close))}
      ${fieldError(problem.value)}`,
  });
  if (done) showToast(tn(pictures.length, "Added to the collection.", "{n} pictures added to the collection."));
}

async function erase(one) {
  const text = t("“{name}” will be deleted. Its pictures stay in the gallery.", { name: one.name });
  if (await confirmDialog({ title: t("Delete the collection?"), text, confirm: t("Delete"), isDangerous: true })) await attempt(() => remove(`/collections/${one.id}`));
}

const rename = (one, field) => attempt(() => put(`/collections/${one.id}`, { name: field.value })).then((done) => done && (editedId.value = null));

const rowView = (one, close, onOpen) => (editedId.value === one.id ? html`<li>${nameForm(t("Name"), one.name, (field) => rename(one, field))}</li>` : html`
  <li class="collections-row">
    <button type="button" class="menu-item collections-entry" @click=${() => { close(); onOpen(one.id); }}>${coverView(one)}</button>
    <button type="button" class="icon-button" aria-label=${t("Rename {name}", { name: one.name })} @click=${() => (editedId.value = one.id)}>${icon("edit")}</button>
    <button type="button" class="icon-button" aria-label=${t("Delete {name}", { name: one.name })} @click=${() => erase(one)}>${icon("trash")}</button>
  </li>`);

/** @param {(id: string) => void} onOpen */
export async function listCollections(onOpen) {
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
      ${collections.value?.length === 0 ? html`<p class="hint">${t("No collections yet. Create one here, or select pictures in the gallery and collect them.")}</p>` : nothing}
      <ul class="collections-list">${repeat(collections.value ?? [], (one) => one.id, (one) => rowView(one, close, onOpen))}</ul>
      ${editedId.value ? nothing : nameForm(t("New collection"), "", create)}
      ${fieldError(problem.value)}`,
  });
}
