// Modal dialogs on <dialog>, which keeps the focus inside and gives it back.

import { html, render, renderOnSignals, runOnSignals } from "./render.js";
import { icon } from "./icons.js";
import { session } from "./store.js";
import { t } from "./text.js";

/** Moves messages into the topmost dialog, outside of which everything is inert. */
const placeMessages = () => ([...document.querySelectorAll("dialog[open]")].at(-1) ?? document.getElementById("app")).append(document.getElementById("messages"));

/**
 * Opens a dialog; resolves with what `close` was given, or null when it was dismissed.
 * @template T
 * @param {{title: string, view: (close: (value?: T) => void) => unknown, kind?: "" | "wide" | "sheet"}} options
 *   `view` renders again when signals change; "sheet" comes from the side, on phones from below
 * @returns {Promise<T | null>}
 */
export function openDialog({ title, view, kind = "" }) {
  return new Promise((resolve) => {
    const dialog = document.createElement("dialog");
    let result = null;
    /** Suspended while the sign-in page is shown; its input is kept. */
    let isAside = false;
    const close = (value = null) => {
      result = value;
      dialog.close();
    };
    dialog.className = kind;
    dialog.setAttribute("aria-label", title);
    document.body.append(dialog);
    const stop = renderOnSignals(dialog, () => html`
      <div class="dialog-head">
        <h2>${title}</h2>
        <button type="button" class="icon-button" aria-label=${t("Close")} @click=${() => close()}>${icon("close")}</button>
      </div>
      <div class="dialog-body">${view(close)}</div>`);
    dialog.addEventListener("click", (event) => event.target === dialog && close());
    dialog.addEventListener("close", () => {
      placeMessages();
      if (isAside) return;
      stopFollowing();
      stop();
      render("", dialog);
      dialog.remove();
      resolve(result);
    });
    const stopFollowing = runOnSignals(() => {
      isAside = session.value !== "ready";
      if (isAside) dialog.close();
      else if (!dialog.open) dialog.showModal();
      placeMessages();
    });
  });
}

/**
 * Asks before something that cannot be undone.
 * @param {{title: string, text: string, confirm: string, isDangerous?: boolean}} options
 * @returns {Promise<boolean>}
 */
export async function confirmDialog({ title, text, confirm, isDangerous = false }) {
  const answer = await openDialog({
    title,
    view: (close) => html`
      <p>${text}</p>
      <div class="row dialog-actions">
        <button type="button" @click=${() => close(false)}>${t("Cancel")}</button>
        <button type="button" class=${isDangerous ? "primary danger" : "primary"} autofocus @click=${() => close(true)}>${confirm}</button>
      </div>`,
  });
  return answer === true;
}
