// Dropped and pasted pictures open in the editor; the current draft is kept.

import { navigate } from "../core/router.js";
import { signal } from "../core/render.js";
import { t } from "../core/text.js";
import { announce, showToast } from "../core/toast.js";

/** Whether a picture is being sent. */
export const isReceiving = signal(false);

const hasFiles = (data) => [...(data?.types ?? [])].includes("Files");

/** Accepts dropped and pasted pictures from now on. @returns {() => void} ends it */
export function listenForPictures() {
  const over = (event) => hasFiles(event.dataTransfer) && event.preventDefault();
  const handlers = { dragover: over, drop: (event) => take(event, event.dataTransfer), paste: (event) => take(event, event.clipboardData) };
  for (const [name, handler] of Object.entries(handlers)) window.addEventListener(name, handler);
  return () => Object.entries(handlers).forEach(([name, handler]) => window.removeEventListener(name, handler));
}

function take(event, data) {
  const files = [...(data?.files ?? [])];
  if (!files.length) return;
  event.preventDefault();
  if (files.length > 1) return void showToast(t("{n} files were dropped. Only one picture can be edited at a time.", { n: files.length }), { kind: "error" });
  if (!isReceiving.peek()) void receive(files[0]);
}

async function receive(file) {
  isReceiving.value = true;
  announce(t("Uploading {name}…", { name: file.name }));
  try {
    const { uploadPhoto } = await import("../uploading/uploading.js");
    const { id } = await uploadPhoto(file);
    await navigate(`/edit/${id}`);
  } catch (error) {
    showToast(error.message, { kind: "error" });
  } finally {
    isReceiving.value = false;
  }
}
