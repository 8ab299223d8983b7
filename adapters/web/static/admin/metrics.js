// Waits, throughput, the queue and memory over the last day.

import { html, nothing } from "../core/render.js";
import { formatNumber, formatTime, t } from "../core/text.js";
import { poll, Resource, resourceView } from "./lists.js";
import { plotView } from "./plots.js";

const REFRESH_MS = 60_000;
const DAY_MS = 24 * 3_600_000;
const START_MS = 3_600_000;
const MEMORY = "memory_mb.";
const metrics = new Resource("/admin/metrics");

export const metricsTab = {
  title: () => t("Metrics"),
  load() {
    void metrics.load();
    return poll(metrics, REFRESH_MS);
  },
  view: () => html`<p class="hint admin-note">${t("The last 24 hours, sampled every minute.")}</p>${resourceView(metrics, (body) => [startView(body), plotsView(body)])}`,
};

/** On a server's first day, from when on there is data. */
function startView({ minutes }) {
  const first = minutes[0];
  if (!first || Date.parse(first) < Date.now() - DAY_MS + START_MS) return nothing;
  return html`<p class="hint admin-note">${t("Recorded since {time}. The lines grow from there.", { time: formatTime(first) })}</p>`;
}

/** With three digits, because a wait may be an hour or a hundredth of a second. @param {number} value */
const plain = (value) => formatNumber(value >= 1000 ? Math.round(value) : Number(value.toPrecision(3)));
const seconds = (value) => (value >= 120 ? t("{n} min", { n: plain(value / 60) }) : t("{n} s", { n: plain(value) }));
const gigabytes = (value) => t("{n} GiB", { n: plain(value) });
const inGigabytes = (line) => ({ ...line, values: line.values.map((value) => (value === null ? null : value / 1024)) });

function plotsView({ minutes, series }) {
  const to = Date.now();
  const shared = { minutes: minutes.map((minute) => Date.parse(minute)), from: to - DAY_MS, to };
  /** @param {string} name @param {string} label @param {import("./plots.js").Line["merge"]} [merge] */
  const line = (name, label, merge = "max") => ({ label, merge, values: series[name] ?? [] });
  const devices = Object.keys(series).filter((name) => name.startsWith(MEMORY));
  return html`
    <div class="admin-plots">
      ${plotView({ ...shared, id: "wait", title: t("Queue time"), format: seconds, lines: [line("wait_p95_s", t("95th percentile")), line("wait_p50_s", t("median"))] })}
      ${plotView({ ...shared, id: "images", title: t("Pictures per 10 minutes"), format: plain, isBars: true, lines: [line("images", t("Pictures"), "sum")] })}
      ${plotView({ ...shared, id: "memory", title: t("Device memory"), format: gigabytes, lines: devices.map((name) => inGigabytes(line(name, name.slice(MEMORY.length)))) })}
      ${plotView({ ...shared, id: "queue", title: t("Jobs in the queue"), format: plain, lines: [line("queued", t("queued")), line("running", t("running"))] })}
      ${plotView({ ...shared, id: "errors", title: t("Failures per 10 minutes"), format: plain, isBars: true, lines: [line("errors", t("Failures"), "sum")] })}
    </div>`;
}
