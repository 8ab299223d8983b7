// The frame around every view: navigation, banner, messages, and the view of the place.

import { html, nothing, SignalView } from "../core/render.js";
import { connection } from "../core/connection.js";
import { icon } from "../core/icons.js";
import { lazyPart } from "../core/parts.js";
import { background, currentRoute, fail, place, retry } from "../core/router.js";
import { errorView, loadingView } from "../core/states.js";
import { hasKey, isAdmin, queueCount, session } from "../core/store.js";
import { t, tn } from "../core/text.js";
import { announcement, toastsView } from "../core/toast.js";
import { accountMenu, accountPanel } from "./account-menu.js";
import { logo } from "./theme.js";

/** @type {{name: import("../core/icons.js").IconName, href: string, label: () => string}[]} */
const ENTRIES = [
  { name: "create", href: "/", label: () => t("Create") },
  { name: "gallery", href: "/gallery", label: () => t("Gallery") },
  { name: "queue", href: "/queue", label: () => t("Queue") },
  { name: "models", href: "/models", label: () => t("Models") },
  { name: "admin", href: "/admin", label: () => t("Admin") },
];
const signIn = lazyPart("sign-in", () => import("../sign-in/sign-in.js"));
const PARENTS = { viewer: "gallery", edit: "create", grids: "gallery" };

export function shellView() {
  if (session.value === "starting") return nothing;
  const isCovered = session.value !== "ready";
  const signInPart = hasKey.value ? signIn() : null; // loaded before a session can end
  return html`
    ${session.value === "signed-out" ? nothing : html`
      <div class="shell" ?inert=${isCovered} ?hidden=${isCovered}>
        <a class="skip-link" href="#main">${t("Skip to content")}</a>
        ${SignalView(railView)}
        <main id="main" tabindex="-1" ?inert=${Boolean(place.value?.route.isOverlay && background.value)}>${SignalView(mainView)}</main>
        ${SignalView(overlayView)}
      </div>`}
    ${isCovered ? signInPart?.signInView() : nothing}
    <div id="messages">
      ${SignalView(bannerView)}
      ${SignalView(toastsView)}
      <p class="visually-hidden" role="status" aria-live="polite">${SignalView(() => announcement.value)}</p>
    </div>`;
}

function railView() {
  const entries = ENTRIES.filter((entry) => entry.name !== "admin" || isAdmin.value);
  const current = PARENTS[currentRoute.value] ?? currentRoute.value;
  return html`
    <header class="rail">
      <a class="brand" href="/" aria-label=${t("Easel: create")}><img src=${logo} alt="" width="28" height="28"><span>Easel</span></a>
      <nav class="tabs" aria-label=${t("Main")}>
        ${entries.map((entry) => html`
          <a class="rail-link" href=${entry.href} aria-current=${current === entry.name ? "page" : nothing}>
            ${icon(entry.name)}<span class="rail-label">${entry.label()}</span>${entry.name === "queue" ? badgeView() : nothing}
          </a>`)}
      </nav>
      ${accountMenu()}
      ${accountPanel()}
    </header>`;
}

const badgeView = () => (queueCount.value ? html`<span class="badge"><span aria-hidden="true">${queueCount.value}</span><span class="visually-hidden">${tn(queueCount.value, "{n} unfinished", "{n} unfinished")}</span></span>` : nothing);

function mainView() {
  const shown = background.value ?? place.value;
  return shown && !(shown.route.isOverlay && background.value) ? placeView(shown) : nothing;
}

function overlayView() {
  const shown = place.value;
  if (!shown?.route.isOverlay || !background.value) return nothing;
  return html`<div class="overlay" role="dialog" aria-modal="true" aria-label=${shown.route.title()}>${placeView(shown)}</div>`;
}

function placeView(shown) {
  const state = shown.state.value;
  if (state === "failed" && !shown.module) return missingView();
  if (state === "failed") return html`<div class="page"><h1>${shown.route.title()}</h1>${errorView(shown.error, retry)}</div>`;
  if (state === "loading") return html`<div class="page page-loading">${loadingView()}</div>`;
  return SignalView(() => guardedView(shown));
}

/** A fault in one view leaves the rest of the page usable. */
function guardedView(shown) {
  try {
    return shown.module.view(shown);
  } catch (error) {
    console.error(error);
    queueMicrotask(() => fail(shown, new Error(t("Something went wrong in the page. Try again or reload it."))));
    return nothing;
  }
}

const missingView = () => html`
  <div class="page">
    <div class="state state-error">
      ${icon("alert")}
      <h1>${t("This part of the page could not be loaded")}</h1>
      <p>${connection.value === "offline" ? t("The server is not responding. Try again when it is back.") : t("Easel may have been updated while the page was open.")}</p>
      <div class="row">
        <button type="button" class="primary" @click=${retry}>${t("Try again")}</button>
        <button type="button" @click=${() => location.reload()}>${t("Reload the page")}</button>
      </div>
    </div>
  </div>`;

const bannerView = () => html`
  <div role="status" class="banner-place">${connection.value === "offline" ? html`<p class="banner"><span class="spinner" aria-hidden="true"></span>${t("The server is not responding. Reconnecting…")}</p>` : nothing}</div>`;
