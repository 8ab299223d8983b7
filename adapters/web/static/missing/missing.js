// An address that has no page.

import { html } from "../core/render.js";
import { stateView } from "../core/states.js";
import { t } from "../core/text.js";

export function view() {
  const links = html`<a class="button primary" href="/">${t("Create a picture")}</a><a class="button" href="/gallery">${t("Open the gallery")}</a>`;
  return html`
    <div class="page">
      <h1 class="visually-hidden" tabindex="-1">${t("Not found")}</h1>
      ${stateView({ icon: "search", title: t("There is no page at this address"), text: t("The link is incomplete or out of date. Check it, or go on from here."), actions: links })}
    </div>`;
}
