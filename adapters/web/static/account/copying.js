// Copying a text to the clipboard.

import { t } from "../core/text.js";
import { showToast } from "../core/toast.js";

/** Also works without HTTPS, which the clipboard API needs. @param {string} text */
export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    showToast(t("Copied."));
  } catch {
    showToast(copySelected(text) ? t("Copied.") : t("The browser blocked copying. Select the text and copy it yourself."));
  }
}

/** Selects the text in a field of the dialog on top, because the rest of the page is inert. */
function copySelected(text) {
  const field = Object.assign(document.createElement("textarea"), { value: text, readOnly: true, className: "visually-hidden" });
  const focused = document.activeElement;
  ([...document.querySelectorAll("dialog[open]")].at(-1) ?? document.body).append(field);
  field.select();
  const isDone = document.execCommand("copy");
  field.remove();
  if (focused instanceof HTMLElement) focused.focus();
  return isDone;
}
