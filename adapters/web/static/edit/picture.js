// The edited picture and its size, read from the file header, because large files are never loaded as a whole.

import { mediaUrl, Problem, request } from "../core/api.js";
import { signal } from "../core/render.js";
import { t } from "../core/text.js";

const ID = /^[0-9a-f]{64}$/;
const HEAD_BYTES = 256 * 1024;
const MAX_MASK_SIDE = 2048;
const PNG = [0x89, 0x50, 0x4e, 0x47];
const NO_SIZE_MARKERS = [0xc4, 0xc8, 0xcc];

/** `{id, width, height}`, or null while it is not known. */
export const picture = signal(null);
/** Why there is none: `{isMissing, error}`, or null. */
export const pictureProblem = signal(null);

let reading = null;

/** Finds out what picture this is. @param {string} id @returns {Promise<object | null>} null: there is none, or another was asked for */
export async function openPicture(id) {
  reading?.abort();
  const controller = (reading = new AbortController());
  picture.value = null;
  pictureProblem.value = null;
  try {
    if (!ID.test(id)) throw new Problem(404, { detail: t("This picture does not exist."), code: "not_found" });
    const size = (await readSize(id, controller.signal)) ?? (await loadSize(id));
    if (controller.signal.aborted) return null;
    picture.value = { id, ...size };
    return picture.peek();
  } catch (error) {
    if (!controller.signal.aborted) pictureProblem.value = { isMissing: error.status === 404, error };
    return null;
  }
}

export function closePicture() {
  reading?.abort();
  picture.value = null;
}

/** Width and height of a mask for a picture: its own, or smaller in the same shape. @param {{width: number, height: number}} size */
export function maskSize({ width, height }) {
  const scale = Math.min(1, MAX_MASK_SIDE / Math.max(width, height));
  return { width: Math.max(1, Math.round(width * scale)), height: Math.max(1, Math.round(height * scale)) };
}

async function readSize(id, signal) {
  const response = await request(`/media/${id}`, { signal });
  const reader = response.body.getReader();
  let bytes = new Uint8Array(0);
  for (;;) {
    const { value, done } = await reader.read();
    if (value) bytes = join(bytes, value);
    const size = findSize(bytes);
    if (!size && !done && bytes.length < HEAD_BYTES) continue;
    void reader.cancel().catch(() => null);
    return size;
  }
}

function join(one, other) {
  const joined = new Uint8Array(one.length + other.length);
  joined.set(one);
  joined.set(other, one.length);
  return joined;
}

function findSize(bytes) {
  const view = new DataView(bytes.buffer);
  if (bytes.length < 24) return null;
  if (PNG.every((byte, index) => bytes[index] === byte)) return { width: view.getUint32(16), height: view.getUint32(20) };
  return bytes[0] === 0xff && bytes[1] === 0xd8 ? findJpegSize(view) : null;
}

/** A JPEG file is a list of segments: a marker of two bytes, a length of two, and the content. */
function findJpegSize(view) {
  for (let at = 2; at + 9 < view.byteLength; at += 2 + view.getUint16(at + 2)) {
    const marker = view.getUint8(at + 1);
    if (view.getUint8(at) !== 0xff) return null;
    if (marker >= 0xc0 && marker <= 0xcf && !NO_SIZE_MARKERS.includes(marker)) return { width: view.getUint16(at + 7), height: view.getUint16(at + 5) };
  }
  return null;
}

async function loadSize(id) {
  const image = new Image();
  image.src = mediaUrl(id);
  await image.decode();
  return { width: image.naturalWidth, height: image.naturalHeight };
}
