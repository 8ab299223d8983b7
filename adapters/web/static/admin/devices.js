// Devices: memory, models and last failure; health checks of the server.

import { icon } from "../core/icons.js";
import { html, repeat } from "../core/render.js";
import { stateView } from "../core/states.js";
import { formatBytes, t } from "../core/text.js";
import { factsView, timeView } from "./facts.js";
import { poll, Resource, resourceView } from "./lists.js";

const REFRESH_MS = 5000;
const MB = 2 ** 20;
const FULL_SHARE = 0.9;
const STATES = { ready: t("Ready"), starting: t("Starting"), restarting: t("Restarting"), stopped: t("Stopped") };
const devices = new Resource("/admin/devices", "devices");

export const devicesTab = {
  title: () => t("Devices"),
  load() {
    void devices.load();
    return poll(devices, REFRESH_MS);
  },
  view: () => resourceView(devices, (body) => html`
    ${body.devices.length ? html`<ul class="admin-grid">${repeat(body.devices, (device) => device.device, deviceView)}</ul>` : stateView({ icon: "alert", title: t("No device is configured"), text: t("Jobs wait until one is available. Check the server log.") })}
    <h2>${t("Checks")}</h2>
    <ul class="admin-checks">
      ${body.checks.map((check) => html`<li class=${check.ok ? "admin-good" : "admin-bad"}>${icon(check.ok ? "check" : "alert")}<span><strong>${check.name}</strong> ${check.text}</span></li>`)}
    </ul>`),
};

function deviceView(device) {
  const isReady = device.state === "ready";
  return html`
    <li class="card admin-card" data-device=${device.device}>
      <div class="row">
        <h2>${device.device}</h2>
        <span class=${`tag ${isReady ? "admin-good" : "admin-bad"}`}>${icon(isReady ? "check" : "alert")}${STATES[device.state] ?? device.state}</span>
      </div>
      ${memoryView(device)}
      ${factsView([
        [t("Running"), t("{running} of {slots}", { running: device.running, slots: device.slots })],
        [t("In memory"), device.loaded.join(", ") || t("no model")],
        [t("Loading"), device.loading],
        [t("Backends"), device.backends.join(", ")],
        [t("Restarts"), String(device.restarts)],
        [t("Last failure"), device.lost_at ? html`${timeView(device.lost_at)} ${device.lost_reason}` : t("none since startup")],
      ])}
    </li>`;
}

function memoryView({ device, memory_used_mb: used, memory_total_mb: total }) {
  if (!total) return html`<p class="hint">${t("{used} of memory in use", { used: formatBytes(used * MB) })}</p>`;
  const share = Math.min(1, used / total);
  return html`
    <div class="admin-usage">
      <meter min="0" max="1" low=${FULL_SHARE} high=${FULL_SHARE} optimum="0" .value=${share} aria-label=${t("Memory of {device}", { device })}></meter>
      <p class="hint number">${t("{used} of {total} of memory in use", { used: formatBytes(used * MB), total: formatBytes(total * MB) })}</p>
    </div>`;
}

