// The API key, stored for this tab only.

import { byId, setText } from "./dom.js";

const STORAGE_NAME = "easel.key";
let pendingDialog = null;

export const apiKey = () => sessionStorage.getItem(STORAGE_NAME);

/** Opens the key dialog; resolves when a key was entered. All waiting requests share one dialog. */
export function askForKey(error = "") {
  pendingDialog ??= new Promise((resolve) => {
    const dialog = byId("key-dialog");
    setText(byId("key-error"), error);
    byId("key").value = "";
    dialog.addEventListener("cancel", (event) => event.preventDefault());
    byId("key-form").addEventListener(
      "submit",
      () => {
        sessionStorage.setItem(STORAGE_NAME, byId("key").value.trim());
        byId("forget-key").hidden = false;
        pendingDialog = null;
        resolve();
      },
      { once: true },
    );
    dialog.showModal();
  });
  return pendingDialog;
}

/** Asks for a key if the server requires one and none is stored. */
export async function ensureKey() {
  byId("forget-key").hidden = !apiKey();
  byId("forget-key").addEventListener("click", () => {
    sessionStorage.removeItem(STORAGE_NAME);
    location.reload();
  });
  if (document.body.dataset.needsKey === "yes" && !apiKey()) await askForKey();
}
