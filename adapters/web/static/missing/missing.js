// An address that has no page.

import { html } from "../core/render.js";
import { stateView } from "../core/states.js";
import { t } from "../core/text.js";

export function view() {
  const links = html`<a class="button primary" href="/">${t("Create a picture")}</a><a class="button" href="/gallery">${t("Open the gallery")}</a>`;
  return html`
    <div class="page">
      <h1 class="visually-hidden" tabindex="-1">${t("Not found")}</h1>
      ${stateView({ icon: "search", title: t("This page does not exist"), text: t("The link may be incomplete or outdated. Check it, or continue from here."), actions: links })}
    </div>`;
}
