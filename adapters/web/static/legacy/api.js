// Calls the REST API and follows single jobs.

import { mediaUrl, newId, Offline, Problem, request } from "../core/api.js";
import { markOffline, markOnline } from "../core/connection.js";

export { Offline, Problem };

const API = "/api/v1";

export const call = (path, options) => request(path, options);

export const get = async (path) => (await call(path)).json();

export async function post(path, body) {
  const headers = { "Content-Type": "application/json", "Idempotency-Key": newId() };
  return (await call(path, { method: "POST", headers, body: JSON.stringify(body) })).json();
}

export const remove = async (path) => (await call(path, { method: "DELETE" })).json();

export async function upload(file) {
  const form = new FormData();
  form.append("file", file);
  return (await call("/media", { method: "POST", body: form })).json();
}

export const imageUrl = (id) => Promise.resolve(mediaUrl(id));

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
  if (isOnline) markOnline();
  else markOffline();
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
