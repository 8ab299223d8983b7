// Sends photos to the server, each file until no more fit. Large ones are shrunk before.

import { upload } from "../core/api.js";
import { uploadLimits } from "../core/store.js";
import { t, tn } from "../core/text.js";
import { announce } from "../core/toast.js";
import { photoLimit } from "../create/capabilities.js";
import { addPhoto, countInit, dropInit, photoNote, uploads } from "../create/photos.js";
import { setRefusal } from "../create/request.js";
import { refusedText } from "./refused-files.js";

const MAX_SIDE = 4096;
const MAX_PIXELS = 12_000_000;
const LOOK_AT_BYTES = 2 * 2 ** 20;
const JPEG_QUALITY = 0.92;
const PICTURE_NAME = /\.(heic|heif|avif|tiff?|bmp)$/i;
/** Errors that are about one file; after others, none of the rest would be taken. */
const ABOUT_THE_FILE = ["unsupported_media", "too_large"];

let counter = 0;
let turn = Promise.resolve();

const mayBePicture = (file) => file.type.startsWith("image/") || !file.type || PICTURE_NAME.test(file.name);

/** Adds the first pictures that fit the mode, after earlier ones. @param {File[]} files */
export const uploadFiles = (files) => (turn = turn.catch(() => null).then(() => takeTogether(files)));

/** Reports the files that were not added in one sentence. @param {File[]} files */
async function takeTogether(files) {
  const given = files.filter(mayBePicture);
  const others = files.filter((file) => !mayBePicture(file));
  setRefusal(null);
  photoNote.value = given.length ? "" : tn(others.length, "{n} file is not a picture.", "{n} files are not pictures.");
  if (!given.length) return;
  const room = photoLimit.peek() === 1 ? 1 : photoLimit.peek() - countInit();
  const { taken, left, refused, code } = await sendUntilFull(given, room);
  refused.push(...others.map(({ name }) => ({ name, reason: t("It is not a picture.") })));
  if (refused.length) setRefusal({ message: refusedText(refused, files.length, left), code: files.length > 1 ? "" : code, option: "images" });
  else if (left) photoNote.value = t("Only {taken} of {given} pictures were added: the limit is reached.", { taken, given: files.length });
}

/** @param {File[]} files @param {number} room how many fit */
async function sendUntilFull(files, room) {
  const waiting = [...files];
  const refused = [];
  let code = "";
  for (let free = room; free > 0 && waiting.length;) {
    const file = waiting.shift();
    try {
      await sendFile(file);
      free -= 1;
    } catch (error) {
      code = error.code ?? "";
      const concerned = !code || ABOUT_THE_FILE.includes(code) ? [file] : [file, ...waiting.splice(0)];
      refused.push(...concerned.map(({ name }) => ({ name, reason: error.message })));
    }
  }
  return { taken: files.length - waiting.length - refused.length, left: waiting.length, refused, code };
}

/** Where only one photo fits, the new one replaces the old one once it is stored. */
async function sendFile(file) {
  const entry = { key: ++counter, name: file.name };
  uploads.value = [...uploads.peek(), entry];
  try {
    const shrunk = await shrink(file);
    if (shrunk.size > uploadLimits.maxFileMb * 2 ** 20) throw new Error(uploadLimits.tooLarge);
    const media = await upload(shrunk);
    if (photoLimit.peek() === 1) dropInit();
    addPhoto(media.id, { name: file.name, recalled: readRecalled(media.parameters) });
    announce(t("Photo added."));
  } finally {
    uploads.value = uploads.peek().filter((other) => other !== entry);
  }
}

/** The file's generation settings, as far as they are supported here. */
function readRecalled(parameters) {
  if (!parameters?.options?.prompt) return null;
  const { options, fitted = options, notes = [] } = parameters;
  return { options: fitted, notes };
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
