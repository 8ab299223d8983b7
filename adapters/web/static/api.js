// Calls the REST API. The key is sent in a header, so streams are read with fetch instead of EventSource, and images
// become blob URLs.

import { apiKey, askForKey } from "./key.js";
import { byId } from "./dom.js";

const API = "/api/v1";

/** An error response: `message` is a sentence to show, `option` the field that it is about. */
export class Problem extends Error {
  constructor(status, content) {
    super(content.detail || "The server sent an unexpected response.");
    this.status = status;
    this.code = content.code || "internal";
    this.option = content.option || null;
  }
}

/** No response from the server. */
export class Offline extends Error {
  constructor() {
    super("The server does not respond. Is it running? Try again in a moment.");
  }
}

export async function call(path, { headers = {}, ...options } = {}) {
  for (;;) {
    const allHeaders = { ...headers };
    if (apiKey()) allHeaders.Authorization = `Bearer ${apiKey()}`;
    let response;
    try {
      response = await fetch(API + path, { ...options, headers: allHeaders, cache: options.cache || "default" });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Offline();
    }
    if (response.ok) return response;
    const problem = new Problem(response.status, await response.json().catch(() => ({})));
    if (problem.code !== "unauthorized") throw problem;
    await askForKey(apiKey() ? problem.message : "");
  }
}

export const get = async (path) => (await call(path)).json();

export async function post(path, body) {
  const headers = { "Content-Type": "application/json", "Idempotency-Key": crypto.randomUUID?.() || fallbackId() };
  return (await call(path, { method: "POST", headers, body: JSON.stringify(body) })).json();
}

// crypto.randomUUID is not available over plain HTTP, except on loopback.
const fallbackId = () => Array.from(crypto.getRandomValues(new Uint32Array(4)), (number) => number.toString(36)).join("-");

export const remove = async (path) => (await call(path, { method: "DELETE" })).json();

export async function upload(file) {
  const form = new FormData();
  form.append("file", file);
  return (await call("/media", { method: "POST", body: form })).json();
}

const imageUrls = new Map();

/** A URL for <img>: the API's own, or a blob URL if a key is needed to fetch the image. */
export function imageUrl(id) {
  if (!apiKey()) return Promise.resolve(`${API}/media/${id}`);
  if (!imageUrls.has(id)) {
    const url = call(`/media/${id}`).then(async (response) => URL.createObjectURL(await response.blob()));
    url.catch(() => imageUrls.delete(id));
    imageUrls.set(id, url);
  }
  return imageUrls.get(id);
}

/** Calls `onEvent(name, data)` for each event of a job until it ends; reconnects after a server restart. */
export async function followJob(id, signal, onEvent) {
  let waitMs = 500;
  while (!signal.aborted) {
    try {
      const response = await call(`/jobs/${id}/events`, { signal, headers: { Accept: "text/event-stream" }, cache: "no-store" });
      setOnline(true);
      waitMs = 500;
      for await (const { name, data } of readEvents(response.body)) {
        onEvent(name, data);
        if (name === "result" || name === "error") return;
      }
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof Problem && error.status < 500) throw error;
      if (error instanceof Offline) setOnline(false);
    }
    await sleep(waitMs, signal);
    waitMs = Math.min(waitMs * 2, 15000);
  }
}

export function setOnline(isOnline) {
  byId("offline").hidden = isOnline;
}

async function* readEvents(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let buffer = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const blocks = (buffer + value).replaceAll("\r\n", "\n").split("\n\n");
    buffer = blocks.pop();
    for (const block of blocks) {
      const event = parseEvent(block);
      if (event) yield event;
    }
  }
}

function parseEvent(block) {
  let name = "message";
  const data = [];
  for (const line of block.split("\n")) {
    if (line.startsWith("event:")) name = line.slice(6).trim();
    else if (line.startsWith("data:")) data.push(line.slice(5).replace(/^ /, ""));
  }
  return data.length ? { name, data: JSON.parse(data.join("\n")) } : null;
}

function sleep(ms, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });
}
