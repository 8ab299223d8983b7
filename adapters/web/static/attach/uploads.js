// Sends photos to the server. Large ones are shrunk before.

import { upload } from "../core/api.js";
import { uploadLimits } from "../core/store.js";
import { t, tn } from "../core/text.js";
import { announce } from "../core/toast.js";
import { photoLimit } from "../create/capabilities.js";
import { addPhoto, countInit, dropInit, photoNote, uploads } from "../create/photos.js";
import { setRefusal } from "../create/request.js";

const MAX_SIDE = 4096;
const MAX_PIXELS = 12_000_000;
const LOOK_AT_BYTES = 2 * 2 ** 20;
const JPEG_QUALITY = 0.92;
const PICTURE_NAME = /\.(heic|heif|avif|tiff?|bmp)$/i;

let counter = 0;

/** Takes the first files that fit the mode; a sentence tells about the rest. @param {File[]} files */
export async function takeFiles(files) {
  const given = files.filter((file) => file.type.startsWith("image/") || !file.type || PICTURE_NAME.test(file.name));
  const others = files.length - given.length;
  setRefusal(null);
  photoNote.value = others ? tn(others, "{n} file is not a picture.", "{n} files are not pictures.") : "";
  if (!given.length) return;
  if (photoLimit.peek() === 1) dropInit();
  const room = Math.max(photoLimit.peek() - countInit() - uploads.peek().length, 0);
  const taken = given.slice(0, room);
  if (taken.length < given.length) photoNote.value = t("Only {taken} of {given} pictures were added: the limit is reached.", { taken: taken.length, given: given.length });
  for (const file of taken) await sendFile(file);
}

async function sendFile(file) {
  const entry = { key: ++counter, name: file.name };
  uploads.value = [...uploads.peek(), entry];
  try {
    const shrunk = await shrink(file);
    if (shrunk.size > uploadLimits.maxMb * 2 ** 20 && !/hei[cf]/i.test(file.type + file.name)) throw new Error(uploadLimits.tooLarge);
    const media = await upload(shrunk);
    addPhoto(media.id, { name: file.name, recalled: readRecalled(media.parameters) });
    announce(t("Photo added."));
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
