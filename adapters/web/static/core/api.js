// Calls the REST API. An error response becomes a Problem, no response becomes Offline; both have a sentence to show.

import { markOffline, markOnline } from "./connection.js";
import { t } from "./text.js";

const API = "/api/v1";

/** An error response: `message` is a sentence to show, `code` is for programs, `option` the field that it is about. */
export class Problem extends Error {
  /** @param {number} status @param {Record<string, any>} content the body (RFC 9457) @param {number | null} [retryAfterS] */
  constructor(status, content, retryAfterS = null) {
    super(content.detail || t("The server sent an unexpected response."));
    this.name = "Problem";
    this.status = status;
    this.code = content.code || "internal";
    this.option = content.option || null;
    this.allowed = content.allowed || null;
    this.incident = content.incident || null;
    this.retryAfterS = retryAfterS;
  }
}

/** No response from the server. */
export class Offline extends Error {
  constructor() {
    super(t("The server is not responding. Is it running? Try again in a moment."));
    this.name = "Offline";
    this.code = "offline";
    this.option = null;
  }
}

/** Called on each 401; resolves after sign-in, and the request is sent again. */
let waitForSignIn = null;

/** @param {() => Promise<void>} handler */
export function onUnauthorized(handler) {
  waitForSignIn = handler;
}

/**
 * @typedef {object} RequestOptions
 * @property {string} [method]
 * @property {unknown} [body] sent as JSON, but for FormData and Blob
 * @property {Record<string, string>} [headers]
 * @property {AbortSignal} [signal]
 * @property {boolean} [keepalive] is sent even if the page is being closed
 * @property {RequestCache} [cache]
 * @property {boolean} [quiet] a 401 is an error, instead of a reason to sign in
 */

/**
 * The response, whose status is 2xx.
 * @param {string} path below /api/v1
 * @param {RequestOptions} [options]
 * @returns {Promise<Response>} throws Problem, Offline, or AbortError
 */
export async function request(path, options = {}) {
  for (;;) {
    const response = await send(path, options);
    markOnline();
    if (response.ok) return response;
    const retryAfter = Number(response.headers.get("Retry-After"));
    const problem = new Problem(response.status, await response.json().catch(() => ({})), retryAfter || null);
    if (problem.status !== 401 || options.quiet || !waitForSignIn) throw problem;
    await waitForSignIn();
  }
}

/** @param {string} path @param {RequestOptions} options */
async function send(path, { method = "GET", body, headers = {}, signal, keepalive, cache }) {
  const isJson = body !== undefined && typeof body !== "string" && !(body instanceof FormData || body instanceof Blob);
  const all = { ...headers };
  if (method !== "GET") all["X-Easel"] = "1";
  if (isJson) all["Content-Type"] = "application/json";
  try {
    return await fetch(API + path, { method, body: isJson ? JSON.stringify(body) : /** @type {BodyInit} */ (body), headers: all, signal, keepalive, cache });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    markOffline();
    throw new Offline();
  }
}

const read = async (response) => (response.status === 204 ? null : response.json());

/** @param {string} path @param {RequestOptions} [options] */
export const get = async (path, options) => read(await request(path, options));

/** `idempotencyKey` makes a repeated request the same request. @param {string} path @param {unknown} body @param {RequestOptions & {idempotencyKey?: string}} [options] */
export async function post(path, body, { idempotencyKey = newId(), ...options } = {}) {
  return read(await request(path, { ...options, method: "POST", body, headers: { "Idempotency-Key": idempotencyKey, ...options.headers } }));
}

/** @param {string} path @param {unknown} [body] @param {RequestOptions} [options] */
export const put = async (path, body, options) => read(await request(path, { ...options, method: "PUT", body }));

/** DELETE. @param {string} path @param {RequestOptions} [options] */
export const remove = async (path, options) => read(await request(path, { ...options, method: "DELETE" }));

/** Stores a picture: `{id, media_type, width, height, parameters}`. @param {Blob} file @param {RequestOptions} [options] */
export async function upload(file, options) {
  const form = new FormData();
  form.append("file", file);
  return read(await request("/media", { ...options, method: "POST", body: form }));
}

/** A new Idempotency-Key. */
export const newId = () => crypto.randomUUID?.() || Array.from(crypto.getRandomValues(new Uint32Array(4)), (part) => part.toString(36)).join("-");

/** The address of a picture, `width` 256, 512 or 1024 for a smaller one. @param {string} id @param {number | null} [width] */
export const mediaUrl = (id, width = null) => `${API}/media/${id}${width ? `?w=${width}` : ""}`;
