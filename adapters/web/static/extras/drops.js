// Dropping and pasting photos anywhere on the page.

import { addFiles, isDropping, startWithPhoto } from "../create/photos.js";

const MEDIA = /\/api\/v1\/media\/([0-9a-f]{64})/;

/** Accepts dropped and pasted photos from now on. @returns {() => void} ends it */
export function listenForPhotos() {
  const over = (event) => {
    if (!isDroppable(event.dataTransfer)) return;
    event.preventDefault();
    isDropping.value = true;
  };
  const out = (event) => event.relatedTarget === null && (isDropping.value = false);
  const handlers = { dragover: over, dragleave: out, drop: handleDrop, paste: handlePaste };
  for (const [name, handler] of Object.entries(handlers)) window.addEventListener(name, handler);
  return () => Object.entries(handlers).forEach(([name, handler]) => window.removeEventListener(name, handler));
}

const isDroppable = (data) => [...(data?.types ?? [])].some((type) => ["Files", "text/uri-list"].includes(type));

function handleDrop(event) {
  isDropping.value = false;
  if (!isDroppable(event.dataTransfer)) return;
  const ours = MEDIA.exec(event.dataTransfer.getData("text/uri-list"));
  if (!ours && !event.dataTransfer.files.length) return;
  event.preventDefault();
  if (ours) startWithPhoto(ours[1]);
  else void addFiles(event.dataTransfer.files);
}

function handlePaste(event) {
  const files = [...(event.clipboardData?.files ?? [])].filter((file) => file.type.startsWith("image/"));
  if (!files.length) return;
  event.preventDefault();
  void addFiles(files);
}
