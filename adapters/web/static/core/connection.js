// Whether the server responds. While it does not, it is probed every second.

import { runOnSignals, signal } from "./render.js";

const PROBE_INTERVAL_MS = 1000;

/** "online" or "offline". */
export const connection = signal("online");

let timer = null;

/** Calls `run` each time the server responds again. @param {() => unknown} run @returns {() => void} ends it */
export function onReturn(run) {
  let wasOffline = false;
  return runOnSignals(() => {
    const isOffline = connection.value === "offline";
    if (wasOffline && !isOffline) queueMicrotask(run);
    wasOffline = isOffline;
  });
}

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
