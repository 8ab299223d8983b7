// Sends photos to the server, each file until no more fit. Large ones are shrunk before.

import { t, tn } from "../core/text.js";
import { announce } from "../core/toast.js";
import { photoLimit } from "../create/capabilities.js";
import { addPhoto, countInit, dropInit, photoNote, uploads } from "../create/photos.js";
import { setRefusal } from "../create/request.js";
import { uploadPhoto } from "../uploading/uploading.js";
import { refusedText } from "./refused-files.js";

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
    const media = await uploadPhoto(file);
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
