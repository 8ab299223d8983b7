// Sends a photo to the server; a large one is shrunk before.

import { upload } from "../core/api.js";
import { uploadLimits } from "../core/store.js";

const MAX_SIDE = 4096;
const MAX_PIXELS = 12_000_000;
const LOOK_AT_BYTES = 2 * 2 ** 20;
const JPEG_QUALITY = 0.92;

/** @param {File} file @returns {Promise<any>} the stored picture; rejected with a sentence */
export async function uploadPhoto(file) {
  const shrunk = await shrink(file);
  if (shrunk.size > uploadLimits.maxFileMb * 2 ** 20) throw new Error(uploadLimits.tooLarge);
  return upload(shrunk);
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
