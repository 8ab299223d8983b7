// The admin area: people, everyone's queue, devices, metrics, reports, blocked jobs, incidents, trainings, plugins, the server.

import { onReturn } from "../core/connection.js";
import { lazyPart } from "../core/parts.js";
import { icon } from "../core/icons.js";
import { html, nothing } from "../core/render.js";
import { loadingView, stateView } from "../core/states.js";
import { isAdmin } from "../core/store.js";
import { t } from "../core/text.js";
import { devicesTab } from "./devices.js";
import { metricsTab } from "./metrics.js";
import { incidentsTab, refusedTab } from "./failures.js";
import { peopleTab } from "./people.js";
import { queueTab } from "./everybody.js";
import { reportsTab } from "./reports.js";
import { serverTab } from "./server.js";

/** A tab whose folder is loaded when it is opened. */
function lazyTab(name, title, importPart) {
  const part = lazyPart(name, importPart);
  return {
    title,
    load() {
      let stop = null;
      let isLeft = false;
      void importPart().then(({ load }) => (stop = isLeft ? null : load()));
      return () => {
        isLeft = true;
        stop?.();
      };
    },
    view: () => part()?.view() ?? loadingView(),
  };
}

const trainingTab = lazyTab("training", () => t("Training"), () => import("../training/training.js"));
const pluginsTab = lazyTab("plugins", () => t("Plugins"), () => import("../plugins/plugins.js"));

/** Each has a `title`, `load(query)`, which may return a cleanup function, and `view(query)`. */
const TABS = { people: peopleTab, queue: queueTab, devices: devicesTab, metrics: metricsTab, reports: reportsTab, refused: refusedTab, incidents: incidentsTab, training: trainingTab, plugins: pluginsTab, server: serverTab };
let stops = [];

const tabOf = (query) => query.get("tab") || "people";
const missingTab = {
  title: () => t("Not found"),
  load: () => undefined,
  view: () => stateView({ icon: "search", title: t("This page does not exist"), text: t("The link may be incomplete or outdated. Choose a section above.") }),
};
const findTab = (query) => (Object.hasOwn(TABS, tabOf(query)) ? TABS[tabOf(query)] : missingTab);

export function load({ query }) {
  leave();
  if (!isAdmin.peek()) return undefined;
  const tab = findTab(query);
  stops = [tab.load(query), onReturn(() => void load({ query }))];
  requestAnimationFrame(() => document.querySelector(".admin-tabs [aria-current]")?.scrollIntoView({ block: "nearest", inline: "nearest" }));
  return undefined;
}

export function leave() {
  for (const stop of stops) stop?.();
  stops = [];
}

export function view({ query }) {
  if (!isAdmin.value) return forbiddenView();
  const [current, tab] = [tabOf(query), findTab(query)];
  return html`
    <div class="page admin">
      <div class="top-bar admin-head">
        <h1>${t("Admin")}</h1>
        <nav class="admin-tabs" aria-label=${t("Admin sections")}>
          ${Object.entries(TABS).map(([name, one]) => html`<a class="admin-tab" href=${`/admin?tab=${name}`} aria-current=${name === current ? "page" : nothing}>${one.title()}</a>`)}
        </nav>
      </div>
      <section class="admin-part" aria-label=${tab.title()}>${tab.view(query)}</section>
    </div>`;
}

const forbiddenView = () => html`
  <div class="page">
    <h1 class="visually-hidden">${t("Admin")}</h1>
    ${stateView({
      icon: "admin",
      title: t("Admins only"),
      text: t("Your key has no admin rights. Ask an admin for an admin key, sign out, and sign in with it."),
      actions: html`<a class="button primary" href="/">${icon("create")}${t("Back to Create")}</a>`,
    })}
  </div>`;
