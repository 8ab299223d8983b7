// The API key, kept in this tab only.

import { byId, say } from "./dom.js";

const NAME = "easel.key";
let asking = null;

export const key = () => sessionStorage.getItem(NAME);

/** Asks the person; resolves when a key was entered. Asked once, however many requests wait for it. */
export function askForKey(complaint = "") {
  asking ??= new Promise((resolve) => {
    const dialog = byId("key-dialog");
    say(byId("key-error"), complaint);
    byId("key").value = "";
    dialog.addEventListener("cancel", (event) => event.preventDefault());
    byId("key-form").addEventListener(
      "submit",
      () => {
        sessionStorage.setItem(NAME, byId("key").value.trim());
        byId("forget-key").hidden = false;
        asking = null;
        resolve();
      },
      { once: true },
    );
    dialog.showModal();
  });
  return asking;
}

export async function openDoor() {
  byId("forget-key").hidden = !key();
  byId("forget-key").addEventListener("click", () => {
    sessionStorage.removeItem(NAME);
    location.reload();
  });
  if (document.body.dataset.needsKey === "yes" && !key()) await askForKey();
}
