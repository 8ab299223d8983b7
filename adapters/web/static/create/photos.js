// Photos of the draft: dropped, pasted, picked or taken from the gallery. Large ones are shrunk before they are sent.

import { upload } from "../core/api.js";
import { batch, signal } from "../core/render.js";
import { uploadLimits } from "../core/store.js";
import { t, tn } from "../core/text.js";
import { announce } from "../core/toast.js";
import { photoLimit } from "./capabilities.js";
import { mode, newPhoto, photos } from "./draft.js";
import { setRefusal } from "./request.js";

const MAX_SIDE = 4096;
const MAX_PIXELS = 12_000_000;
const LOOK_AT_BYTES = 2 * 2 ** 20;
const JPEG_QUALITY = 0.92;
const MEDIA = /\/api\/v1\/media\/([0-9a-f]{64})/;

/** Files that are being sent: `{key, name}`. */
export const uploads = signal([]);
/** A sentence about files that were not taken. */
export const photoNote = signal("");
/** Whether files are being dragged over the page. */
export const isDropping = signal(false);

let counter = 0;

/** Takes the first files that fit the mode; a sentence tells about the rest. @param {Iterable<File>} files */
export async function addFiles(files) {
  const given = [...files].filter((file) => file.type.startsWith("image/") || !file.type || /\.(heic|heif|avif|tiff?|bmp)$/i.test(file.name));
  const others = [...files].length - given.length;
  setRefusal(null);
  photoNote.value = others ? tn(others, "{n} file is not a picture.", "{n} files are not pictures.") : "";
  if (!given.length) return;
  if (mode.peek() === "imagine" && given.length === 1 && photos.peek().some((photo) => photo.role === "init")) dropInit();
  const room = Math.max(photoLimit.peek() === 1 ? 1 : 0, photoLimit.peek() - countInit() - uploads.peek().length);
  if (photoLimit.peek() === 1) dropInit();
  const taken = given.slice(0, room);
  if (taken.length < given.length) photoNote.value = t("{taken} of {given} pictures were taken: more do not fit here at the same time.", { taken: taken.length, given: given.length });
  for (const file of taken) await addFile(file);
}

const countInit = () => photos.peek().filter((photo) => photo.role === "init").length;
const dropInit = () => (photos.value = photos.peek().filter((photo) => photo.role !== "init"));

async function addFile(file) {
  const entry = { key: ++counter, name: file.name };
  uploads.value = [...uploads.peek(), entry];
  try {
    const shrunk = await shrink(file);
    if (shrunk.size > uploadLimits.maxMb * 2 ** 20 && !/hei[cf]/i.test(file.type + file.name)) throw new Error(uploadLimits.tooLarge);
    const media = await upload(shrunk);
    batch(() => addPhoto(media.id, { name: file.name, recalled: readRecalled(media.parameters) }));
    announce(t("The photo is ready."));
  } catch (error) {
    setRefusal({ message: error.message, code: error.code, option: "images" });
  } finally {
    uploads.value = uploads.peek().filter((other) => other !== entry);
  }
}

/** What a file says of how it was made, as far as it is possible here. */
function readRecalled(parameters) {
  if (!parameters?.options?.prompt) return null;
  const { options, fitted = options, notes = [] } = parameters;
  return { options: fitted, notes };
}

/** Adds a stored picture. @param {string} id @param {object} [said] */
export function addPhoto(id, said = {}) {
  if (photos.peek().some((photo) => photo.id === id && photo.role === (said.role ?? "init"))) return;
  photos.value = [...photos.peek(), newPhoto(id, said)];
}

/** Makes a stored picture the photo to start from, in place of others that do not fit beside it. @param {string} id @param {string} [name] */
export function startWithPhoto(id, name = "") {
  if (photoLimit.peek() <= 1 || countInit() >= photoLimit.peek()) dropInit();
  addPhoto(id, { name });
}

/** A file that is small enough to be sent. What the browser cannot read is left to the server. */
async function shrink(file) {
  if (file.size <= LOOK_AT_BYTES) return file;
  let bitmap = null;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    return file;
  }
  const { width, height } = bitmap;
  const scale = Math.min(1, MAX_SIDE / Math.max(width, height), Math.sqrt(MAX_PIXELS / (width * height)));
  const isFine = scale === 1 && file.size <= uploadLimits.maxMb * 2 ** 20;
  const smaller = isFine ? file : await draw(bitmap, Math.round(width * scale), Math.round(height * scale));
  bitmap.close();
  return smaller ?? file;
}

async function draw(bitmap, width, height) {
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const context = canvas.getContext("2d");
  if (!context) return null;
  context.drawImage(bitmap, 0, 0, width, height);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", JPEG_QUALITY));
}

const hasFiles = (data) => [...(data?.types ?? [])].includes("Files");
const isDroppable = (data) => hasFiles(data) || [...(data?.types ?? [])].includes("text/uri-list");

/** Photos may be dropped and pasted anywhere from now on. @returns {() => void} ends it */
export function listenForPhotos() {
  const over = (event) => {
    if (!isDroppable(event.dataTransfer)) return;
    event.preventDefault();
    isDropping.value = true;
  };
  const out = (event) => event.relatedTarget === null && (isDropping.value = false);
  const handlers = { dragover: over, dragleave: out, drop: takeDrop, paste: takePaste };
  for (const [name, handler] of Object.entries(handlers)) window.addEventListener(name, handler);
  return () => Object.entries(handlers).forEach(([name, handler]) => window.removeEventListener(name, handler));
}

function takeDrop(event) {
  isDropping.value = false;
  if (!isDroppable(event.dataTransfer)) return;
  const ours = MEDIA.exec(event.dataTransfer.getData("text/uri-list"));
  if (!ours && !event.dataTransfer.files.length) return;
  event.preventDefault();
  if (ours) startWithPhoto(ours[1]);
  else void addFiles(event.dataTransfer.files);
}

function takePaste(event) {
  const files = [...(event.clipboardData?.files ?? [])].filter((file) => file.type.startsWith("image/"));
  if (!files.length) return;
  event.preventDefault();
  void addFiles(files);
}
