// Why a request was refused.

import { html, nothing } from "../core/render.js";
import { fieldError } from "../core/states.js";
import { t } from "../core/text.js";
import { supportedOptions } from "../create/capabilities.js";
import { openDrawer } from "../create/composer.js";
import { refusal } from "../create/request.js";

/** Why the request was refused, beside the way to the option. */
export function refusalView() {
  const refused = refusal.value;
  const isHidden = refused.option && supportedOptions.value.has(refused.option) && !["model", "style"].includes(refused.option);
  const wrong = { negative: "negative_prompt", guidance: "guidance_scale", size: "width" }[refused.option] ?? refused.option;
  return html`<div class="row extras-refusal">${fieldError(refused.message)}
    ${isHidden ? html`<button type="button" class="chip" @click=${() => openDrawer(wrong)}>${t("Show this option")}</button>` : nothing}</div>`;
}
