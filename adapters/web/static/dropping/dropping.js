// Photos dropped or pasted in views that do not take them themselves: they are added in Create.

import { currentRoute, navigate } from "../core/router.js";

const TAKING = ["create", "edit"];

/** Neither a picture of the page that is being dragged, nor text that is pasted with a picture of it. @param {DataTransfer} data */
const hasOnlyFiles = (data) => data?.types.includes("Files") && !data.types.some((type) => type.startsWith("text/"));
const isTaken = (data) => hasOnlyFiles(data) && !TAKING.includes(currentRoute.peek()) && !document.querySelector("dialog[open]");

/** @param {Event} event @param {DataTransfer} data */
async function take(event, data) {
  if (!isTaken(data)) return;
  event.preventDefault();
  const files = [...data.files];
  await navigate("/");
  const { addFiles } = await import("../create/photos.js");
  await addFiles(files);
}

window.addEventListener("dragover", (event) => isTaken(event.dataTransfer) && event.preventDefault());
window.addEventListener("drop", (event) => void take(event, event.dataTransfer));
window.addEventListener("paste", (event) => void take(event, event.clipboardData));
