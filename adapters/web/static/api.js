// REST as the page uses it. Requests carry the key by header, so streams are read with fetch, not with EventSource,
// and pictures become blob URLs.

import { askForKey, key } from "./key.js";
import { byId } from "./dom.js";

const API = "/api/v1";

/** A refusal: `message` is a sentence for the person, `option` the field it is about. */
export class Problem extends Error {
  constructor(status, content) {
    super(content.detail || "The server gave an answer that makes no sense here.");
    this.status = status;
    this.code = content.code || "internal";
    this.option = content.option || null;
  }
}

/** Nobody answered. */
export class Offline extends Error {
  constructor() {
    super("The server does not answer. Is it running? Try again in a moment.");
  }
}

export async function call(path, { headers = {}, ...options } = {}) {
  for (;;) {
    const sent = { ...headers };
    if (key()) sent.Authorization = `Bearer ${key()}`;
    let response;
    try {
      response = await fetch(API + path, { ...options, headers: sent, cache: options.cache || "default" });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Offline();
    }
    if (response.ok) return response;
    const problem = new Problem(response.status, await response.json().catch(() => ({})));
    if (problem.code !== "unauthorized") throw problem;
    await askForKey(key() ? problem.message : "");
  }
}

export const get = async (path) => (await call(path)).json();

export async function post(path, body) {
  const headers = { "Content-Type": "application/json", "Idempotency-Key": crypto.randomUUID?.() || fallbackId() };
  return (await call(path, { method: "POST", headers, body: JSON.stringify(body) })).json();
}

// crypto.randomUUID is missing on plain HTTP beyond loopback.
const fallbackId = () => Array.from(crypto.getRandomValues(new Uint32Array(4)), (word) => word.toString(36)).join("-");

export const remove = async (path) => (await call(path, { method: "DELETE" })).json();

export async function upload(file) {
  const form = new FormData();
  form.append("file", file);
  return (await call("/media", { method: "POST", body: form })).json();
}

const pictures = new Map();

/** An address that an <img> can show: the plain one, or a blob's where a key is needed to fetch it. */
export function pictureUrl(id) {
  if (!key()) return Promise.resolve(`${API}/media/${id}`);
  if (!pictures.has(id)) {
    const made = call(`/media/${id}`).then(async (response) => URL.createObjectURL(await response.blob()));
    made.catch(() => pictures.delete(id));
    pictures.set(id, made);
  }
  return pictures.get(id);
}

/** Calls `onEvent(name, data)` for each event of a job until its end; comes back by itself after a server restart. */
export async function follow(id, signal, onEvent) {
  let waitMs = 500;
  while (!signal.aborted) {
    try {
      const response = await call(`/jobs/${id}/events`, { signal, headers: { Accept: "text/event-stream" }, cache: "no-store" });
      setOnline(true);
      waitMs = 500;
      for await (const { name, data } of eventsOf(response.body)) {
        onEvent(name, data);
        if (name === "result" || name === "error") return;
      }
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof Problem && error.status < 500) throw error;
      if (error instanceof Offline) setOnline(false);
    }
    await pause(waitMs, signal);
    waitMs = Math.min(waitMs * 2, 15000);
  }
}

export function setOnline(isOnline) {
  byId("lost").hidden = isOnline;
}

async function* eventsOf(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const blocks = (rest + value).replaceAll("\r\n", "\n").split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const event = eventOf(block);
      if (event) yield event;
    }
  }
}

function eventOf(block) {
  let name = "message";
  const data = [];
  for (const line of block.split("\n")) {
    if (line.startsWith("event:")) name = line.slice(6).trim();
    else if (line.startsWith("data:")) data.push(line.slice(5).replace(/^ /, ""));
  }
  return data.length ? { name, data: JSON.parse(data.join("\n")) } : null;
}

function pause(ms, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });
}
