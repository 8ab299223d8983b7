// A one-time link (`/#key=…`) signs in its first visitor.

import { post } from "../core/api.js";
import { t } from "../core/text.js";
import { showToast } from "../core/toast.js";

/** An existing session is kept. @param {import("../core/libraries.d.ts").Signal<number | false>} wasSignedIn */
export async function redeemLink(wasSignedIn) {
  const key = new URLSearchParams(location.hash.slice(1)).get("key");
  if (!key) return;
  history.replaceState(history.state, "", location.pathname + location.search);
  if (wasSignedIn.peek()) return void showToast(t("You are already signed in. Sign out, then open the link again."));
  try {
    await post("/session", { key }, { quiet: true });
    wasSignedIn.value = Date.now();
  } catch (error) {
    showToast(error.message, { kind: "error", timeoutMs: 30_000 });
  }
}
