// Whether the server answers. While it does not, it is asked every second.

import { signal } from "./render.js";

const PROBE_INTERVAL_MS = 1000;

/** "online" or "offline". */
export const connection = signal("online");

let timer = null;

/** Called when a request got no response. */
export function markOffline() {
  connection.value = "offline";
  timer ??= setTimeout(probe, PROBE_INTERVAL_MS);
}

export function markOnline() {
  clearTimeout(timer);
  timer = null;
  connection.value = "online";
}

async function probe() {
  timer = null;
  try {
    await fetch("/healthz", { cache: "no-store" });
    markOnline();
  } catch {
    markOffline();
  }
}
