// Opens the page: the key if one is needed, what can be asked, the wall, today's allowance.

import { get } from "./api.js";
import { setUpComposer } from "./composer.js";
import { byId, say } from "./dom.js";
import { openDoor } from "./key.js";
import { setUpModels } from "./models.js";
import { buildOptions } from "./options.js";
import { hang, setUpWall } from "./wall.js";

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
    byId("quota").hidden = true; // it is shown again after the next job; nothing depends on it
  }
}

function showDemo(models) {
  const first = models.find((model) => model.default_for.includes("text-to-image"));
  say(byId("demo-hint"), first?.note || "");
}

async function showWhatCanBeAsked() {
  try {
    const [{ commands }, { models }] = await Promise.all([get("/commands"), get("/models")]);
    buildOptions(commands, models);
    showDemo(models);
  } catch (problem) {
    say(byId("composer-error"), problem.message);
  }
}

async function open() {
  await openDoor();
  setUpComposer((job) => (hang(job), refreshQuota()));
  await showWhatCanBeAsked();
  await Promise.all([setUpWall(refreshQuota), refreshQuota(), setUpModels(showWhatCanBeAsked)]);
  document.body.dataset.ready = "yes";
}

open();
