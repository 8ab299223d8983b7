// Starts the page: the routes, the session, the stream of events.

import { html, renderOnSignals, runOnSignals, signal } from "../core/render.js";
import { startEvents } from "../core/events.js";
import { loadStyle, navigate, startRouter, title } from "../core/router.js";
import { registerShortcuts } from "../core/shortcuts.js";
import { session, startSession } from "../core/store.js";
import { setCatalogue, t } from "../core/text.js";
import { undoLast } from "../core/toast.js";
import { errorView } from "../core/states.js";
import { openShortcuts } from "./account-menu.js";
import { shellView } from "./shell.js";

/** @type {import("../core/router.js").Route[]} */
const ROUTES = [
  { name: "create", pattern: "/", folder: "create", title: () => t("Create"), load: () => import("../create/create.js") },
  { name: "gallery", pattern: "/gallery", folder: "gallery", title: () => t("Gallery"), load: () => import("../gallery/gallery.js") },
  { name: "queue", pattern: "/queue", folder: "queue", title: () => t("Queue"), load: () => import("../queue/queue.js") },
  { name: "viewer", pattern: "/p/{job}/{n}", folder: "viewer", title: () => t("Picture"), isOverlay: true, load: () => import("../viewer/viewer.js") },
  { name: "edit", pattern: "/edit/{media}", folder: "edit", title: () => t("Edit"), load: () => import("../edit/edit.js") },
  { name: "grids", pattern: "/grid/{batch}", folder: "grids", title: () => t("Grid"), load: () => import("../grids/grids.js") },
  { name: "models", pattern: "/models", folder: "models", title: () => t("Models"), load: () => import("../models/models.js") },
  { name: "admin", pattern: "/admin", folder: "admin", title: () => t("Admin"), load: () => import("../admin/admin.js") },
];
const MISSING = { name: "missing", pattern: "", folder: "missing", title: () => t("Not found"), load: () => import("../missing/missing.js") };

const startError = signal(null);
const startErrorView = () => html`<main class="page"><h1>Easel</h1>${errorView(startError.value, () => location.reload())}</main>`;

/** The sentences of another language, before anything is shown. */
async function loadCatalogue() {
  const { lang } = document.documentElement;
  if (lang === "en") return;
  const response = await fetch(`/texts/${lang}`).catch(() => null);
  if (response?.ok) setCatalogue(await response.json());
}

const forcedColors = matchMedia("(forced-colors: active)");
const loadContrast = () => (forcedColors.matches ? loadStyle("contrast", forcedColors.media) : null);

async function start() {
  forcedColors.addEventListener("change", loadContrast);
  await Promise.all([loadCatalogue(), loadContrast()]);
  const root = document.getElementById("app");
  renderOnSignals(root, () => (startError.value ? startErrorView() : shellView()));
  runOnSignals(() => (document.title = session.value === "ready" && title.value ? `${title.value} · Easel` : "Easel"));
  registerShortcuts(t("Everywhere"), [
    { keys: "?", label: t("Show shortcuts"), run: openShortcuts },
    { keys: "z", label: t("Undo"), run: undoLast },
    { keys: "Alt+1", label: t("Create"), inFields: true, run: () => navigate("/") },
    { keys: "Alt+2", label: t("Gallery"), inFields: true, run: () => navigate("/gallery") },
    { keys: "Alt+3", label: t("Queue"), inFields: true, run: () => navigate("/queue") },
  ]);
  for (const name of ["dragenter", "keydown"]) addEventListener(name, () => import("../dropping/dropping.js").catch(() => null), { once: true });
  let isRouted = false;
  runOnSignals(() => {
    if (session.value !== "ready" || isRouted) return;
    isRouted = true;
    void startRouter(ROUTES, MISSING);
    startEvents();
    document.body.dataset.shell = "ready";
  });
  try {
    await startSession();
  } catch (error) {
    startError.value = error;
  }
}

void start();
