// Small views shared by several tabs.

import { html, nothing } from "../core/render.js";
import { formatNumber, formatTime, t } from "../core/text.js";

const PLATFORMS = { web: t("Page or API"), cli: t("Command line"), discord: t("Discord"), telegram: t("Telegram"), local: t("This computer") };

export const platformName = (platform) => PLATFORMS[platform] ?? platform;

/** Device-seconds, rounded. @param {number} seconds */
export const formatDeviceSeconds = (seconds) => formatNumber(seconds < 10 ? Math.round(seconds * 10) / 10 : Math.round(seconds));

/** @param {string | null} iso */
export const timeView = (iso) => (iso ? html`<time datetime=${iso} title=${new Date(iso).toLocaleString()}>${formatTime(iso)}</time>` : nothing);

/** @param {[unknown, unknown][]} pairs what has no value is left out */
export const factsView = (pairs) => html`
  <dl class="admin-facts">
    ${pairs.filter(([, value]) => value !== null && value !== undefined && value !== "" && value !== nothing).map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}
  </dl>`;

/** A job's command, model and platform. @param {object} job */
export const jobFacts = (job) => [job.command, job.model, platformName(job.platform)].filter(Boolean).join(" · ");
