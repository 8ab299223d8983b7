// Generation facts of a picture, to read and copy.

import { icon } from "../core/icons.js";
import { notesText, notesView } from "../noting/notes.js";
import { html, nothing } from "../core/render.js";
import { formatNumber, formatTime, t } from "../core/text.js";
import { showToast } from "../core/toast.js";
import { labelOfCommand, promptOf } from "../core/titles.js";

const PLATFORMS = { web: () => t("Page or API"), cli: () => t("Command line"), discord: () => "Discord", telegram: () => "Telegram" };
const SHOWN_ELSEWHERE = ["asked", "prompts", "prompt", "question", "negative_prompt", "style", "seed", "steps", "guidance_scale", "sampler", "schedule", "strength", "width", "height", "model", "count", "loras"];

/** Copies a text, also where the browser's clipboard needs HTTPS. @param {string} text */
export async function copyText(text) {
  try {
    if (navigator.clipboard) await navigator.clipboard.writeText(text);
    else copyByField(text);
    showToast(t("Copied."));
  } catch {
    showToast(t("The browser blocked copying. Select the text and copy it yourself."), { kind: "error" });
  }
}

function copyByField(text) {
  const field = Object.assign(document.createElement("textarea"), { value: text, className: "visually-hidden" });
  (document.querySelector(".overlay") ?? document.body).append(field);
  field.select();
  const isCopied = document.execCommand("copy");
  field.remove();
  if (!isCopied) throw new Error("not allowed");
}

const seconds = (value) => (value === null || value === undefined ? "" : t("{n} s", { n: formatNumber(Math.round(value * 10) / 10) }));
const loraText = ({ name, weight }) => (weight === null ? name : `${name} (${weight})`);

/** `[label, value, what is shown]` for each fact that there is. @param {object} job @param {object | null} media @param {string} sourceText */
export function listFacts(job, media, sourceText) {
  const { facts, options, result } = job;
  const rows = [
    [t("Command"), labelOfCommand(job.command)],
    [t("Grid"), facts.cell, html`<a href=${`/grid/${job.batch}`}>${facts.cell}</a>`],
    [t("Negative prompt"), options.asked?.negative_prompt ?? options.negative_prompt],
    [t("Style"), facts.style],
    [t("Model"), result?.model || options.model],
    [t("Seed"), media?.seed ?? result?.seed],
    [t("Match with the prompt"), typeof media?.score === "number" ? t("{n} %", { n: Math.round(100 * media.score) }) : ""],
    [t("Steps"), facts.steps],
    [t("Guidance"), facts.guidance_scale],
    [t("Sampler"), facts.sampler],
    [t("Schedule"), facts.schedule],
    [t("Denoising strength"), facts.strength],
    [t("LoRAs"), facts.loras.map(loraText).join(", ")],
    [t("Made from"), sourceText],
    [t("Size"), media ? `${media.width} × ${media.height}` : ""],
    ...Object.entries(options).filter(([name]) => !SHOWN_ELSEWHERE.includes(name)).map(([name, value]) => [name.replaceAll("_", " "), typeof value === "object" ? JSON.stringify(value) : value]),
    [t("Compute time"), seconds(facts.device_s ?? result?.seconds)],
    [t("Queue time"), seconds(facts.queue_s)],
    [t("Total time"), seconds(facts.took_s)],
    [t("From"), [PLATFORMS[facts.platform]?.() ?? facts.platform, facts.client].filter(Boolean).join(", ")],
    [t("Created"), formatTime(job.created_at)],
    [t("Notes"), result ? notesText(result.notes) : "", result ? notesView(result.notes) : ""],
  ];
  return rows.filter(([, value]) => value !== null && value !== undefined && value !== "" && value !== false).map(([label, value, shown = value]) => [label, String(value), shown]);
}

/** All facts in AUTOMATIC1111's format, with this picture's seed. */
function allAsText(job, media, rows) {
  const text = job.result?.parameters;
  if (!text) return [promptOf(job), ...rows.map(([label, value]) => `${label}: ${value}`)].join("\n");
  return media?.seed === null || media?.seed === undefined ? text : text.replace(/\bSeed: \d+/, `Seed: ${media.seed}`);
}

const copyButton = (label, text) => html`<button type="button" class="icon-button viewer-copy" aria-label=${t("Copy: {label}", { label })} title=${t("Copy")} @click=${() => copyText(text)}>${icon("copy")}</button>`;

/** @param {object} job @param {object | null} media @param {string} sourceText */
export function factsView(job, media, sourceText) {
  const rows = listFacts(job, media, sourceText);
  return html`
    <section class="viewer-section" aria-labelledby="viewer-facts">
      <div class="row"><h2 id="viewer-facts">${t("Facts")}</h2><span class="spacer"></span>
        <button type="button" class="chip" @click=${() => copyText(allAsText(job, media, rows))}>${icon("copy")}${t("Copy all")}</button></div>
      <dl class="viewer-facts">${rows.map(([label, value, shown]) => html`<div><dt>${label}</dt><dd class="number"><span>${shown}</span>${copyButton(label, value)}</dd></div>`)}</dl>
    </section>`;
}

/** The prompt as typed. @param {object} job */
export function wordsView(job) {
  const words = promptOf(job);
  const mayScroll = words.length > 150 || words.includes("\n");
  return html`<div class="viewer-words"><p tabindex=${mayScroll ? 0 : nothing}>${words}</p>${copyButton(t("prompt"), words)}</div>`;
}

