// Starts the page: asks for a key if needed, then loads commands and models, the gallery and today's quota.

import { get } from "./api.js";
import { setCommands } from "./commands.js";
import { setUpComposer } from "./composer.js";
import { byId, setText } from "./dom.js";
import { addJob, setUpGallery } from "./gallery.js";
import { openModels, setUpModels } from "./models.js";
import { buildOptions } from "./options.js";

let isAdmin = false;

async function showQuota() {
  const { limit, used, reserved } = await get("/quota");
  const spent = used + reserved;
  const round = (value) => (value < 10 ? Math.round(value * 10) / 10 : Math.round(value));
  byId("quota").hidden = limit === null && !spent;
  byId("quota-text").textContent =
    limit === null ? `${round(spent)} device-seconds used today` : `${round(Math.max(0, limit - spent))} of ${round(limit)} device-seconds left today`;
  const meter = byId("quota-meter");
  meter.hidden = limit === null;
  if (limit) meter.value = Math.min(1, spent / limit);
}

async function refreshQuota() {
  try {
    await showQuota();
  } catch {
    byId("quota").hidden = true; // shown again after the next job; nothing depends on it
  }
}

/** Admins can replace the demo model, so they get a button; each demo result is labelled anyway. */
function showDemoHint(models) {
  const model = models.find((one) => one.default_for.includes("text-to-image"));
  byId("demo-hint").hidden = !(isAdmin && model?.demo);
}

async function loadCommandsAndModels() {
  try {
    const [{ commands }, { models }] = await Promise.all([get("/commands"), get("/models")]);
    setCommands(commands);
    buildOptions(commands, models);
    showDemoHint(models);
  } catch (problem) {
    setText(byId("composer-error"), problem.message);
  }
}

export async function start() {
  setUpComposer((job) => (addJob(job), refreshQuota()));
  byId("demo-hint").addEventListener("click", openModels);
  isAdmin = (await get("/me").catch(() => ({ admin: false }))).admin;
  await loadCommandsAndModels();
  if (isAdmin) setUpModels(loadCommandsAndModels);
  await Promise.all([setUpGallery(refreshQuota), refreshQuota()]);
  document.body.dataset.ready = "yes";
}

