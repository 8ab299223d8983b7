// The route "/edit/{media}": repaints a part of a picture, or extends it. Opens the picture while the editor is loaded.

import { html, runOnSignals, signal, SignalView, untracked } from "../core/render.js";
import { connection } from "../core/connection.js";
import { errorView, loadingView, stateView } from "../core/states.js";
import { storeError } from "../core/store.js";
import { t } from "../core/text.js";
import { isReceiving, listenForPictures } from "./drop.js";
import { closePicture, openPicture, picture, pictureProblem } from "./picture.js";

/** The module of the editor, or null until it is loaded. */
const editor = signal(null);
/** Stops editing; null: not started. */
const stopEditing = signal(null);
let loading = null;
let opened = null;
let stopRoute = null;

/** @param {import("../core/router.js").Place} place */
export async function load({ params }) {
  stopRoute ??= startRoute();
  if (opened !== params.media) await open(params.media);
}

function startRoute() {
  const stopListening = listenForPictures();
  const stopRetrying = runOnSignals(() => {
    const problem = pictureProblem.value;
    if (connection.value === "online" && problem?.error.code === "offline") untracked(() => void open(opened));
  });
  return () => {
    stopListening();
    stopRetrying();
  };
}

function loadEditor() {
  loading ??= import("../editor/editor.js").then((module) => (editor.value = module));
  return loading.catch(() => {
    loading = null;
    opened = null;
    throw new Error(t("This part of the page could not be loaded. Try again or reload the page."));
  });
}

async function open(id) {
  close();
  opened = id;
  const [found] = await Promise.all([openPicture(id), loadEditor()]);
  if (!found || opened !== id) return;
  const hadFocus = document.activeElement?.matches(".edit h1");
  stopEditing.value = editor.peek().startEditing(found);
  if (hadFocus) setTimeout(() => document.activeElement === document.body && focusHeading());
}

function focusHeading() {
  document.querySelector(".edit h1")?.focus({ preventScroll: true });
}

function close() {
  stopEditing.peek()?.();
  stopEditing.value = null;
}

export function leave() {
  close();
  closePicture();
  stopRoute?.();
  stopRoute = null;
  opened = null;
}

function problemView({ isMissing, error }) {
  if (!isMissing) return errorView(error, () => void open(opened));
  const links = html`<a class="button primary" href="/gallery">${t("Choose from the gallery")}</a><a class="button" href="/">${t("Create a picture")}</a>`;
  return stateView({ icon: "image", title: t("This picture does not exist"), text: t("It was deleted, belongs to someone else, or the link is incomplete."), actions: links });
}

/** In the editor's layout, so nothing shifts when it has loaded. */
const openingView = () => html`
  <div class="edit">
    <section class="edit-work" aria-label=${t("Picture")}>
      <h1 class="visually-hidden" tabindex="-1">${t("Edit")}</h1>
      <div class="edit-toolbar"></div>
      <div class="edit-stage">${loadingView(t("Opening the picture…"))}</div>
    </section>
    <section class="edit-side-panel" aria-label=${t("Panel")}></section>
  </div>`;

function contentView() {
  if (pictureProblem.value) return html`<div class="page"><h1 tabindex="-1">${t("Edit")}</h1>${problemView(pictureProblem.value)}</div>`;
  const isReady = picture.value && stopEditing.value && (editor.value.isKnown.value || storeError.value);
  return isReady && !isReceiving.value ? editor.value.editorView() : openingView();
}

export const view = () => SignalView(contentView);
