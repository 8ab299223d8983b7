// A model as a card, and LoRAs and textual inversions as a list.

import { confirmDialog } from "../core/dialog.js";
import { restoreFocus } from "../core/focus.js";
import { icon } from "../core/icons.js";
import { html, nothing } from "../core/render.js";
import { sentenceView } from "../core/sentence.js";
import { isAdmin } from "../core/store.js";
import { formatBytes, t } from "../core/text.js";
import { showToast } from "../core/toast.js";
import { describeAbilities, listTasks, mainGroup } from "./abilities.js";
import { adaptersView } from "./adapters.js";
import { cancelInstall, examples, followInstall, isInstalled, progressOf, removeModel } from "./catalogue.js";
import { cardButton, fitOf, installText, useModel } from "./installing.js";

/** @param {object} row */
export const cardView = (row) => html`
  <li class="card models-card" data-model=${row.name} aria-labelledby=${`model-${row.name}`}>
    <div class="models-top">
      ${pictureView(row)}
      <div>
        <h3 id=${`model-${row.name}`}>${row.title}</h3>
        ${row.title === row.name ? nothing : html`<p class="hint">${row.name}</p>`}
        <p class="models-tags">${badgesView(row)}</p>
      </div>
    </div>
    <p>${describeAbilities(row)}</p>
    ${factsView(row)}
    ${isInstalled(row) && row.execution ? executionView(row.execution) : nothing}
    ${row.error && !progressOf(row) ? html`<p class="error" role="alert">${icon("alert")}<span>${sentenceView(row.error)}</span></p>` : nothing}
    ${progressOf(row) ? progressView(row) : nothing}
    ${adaptersView(row)}
    ${isAdmin.value ? actionsView(row) : nothing}
  </li>`;

function pictureView(row) {
  const example = isInstalled(row) && examples.value.get(row.name);
  if (example) return html`<img class="thumb models-picture" src=${example.src} alt=${example.alt} width="88" height="88" loading="lazy">`;
  return html`<span class="thumb models-picture">${icon(mainGroup(row).icon)}</span>`;
}

function badgesView(row) {
  const fit = fitOf(row.fits);
  return [
    row.demo ? html`<span class="tag">${t("Starter")}</span>` : nothing,
    row.loaded ? html`<span class="tag">${t("In memory")}</span>` : nothing,
    fit ? html`<span class=${`tag models-fit-${fit.kind}`}>${icon(fit.kind === "bad" ? "alert" : "check")}${fit.text}</span>` : nothing,
  ];
}

/** What it runs on, and why something configured does not run. */
const executionView = ({ sentence, problem }) => html`
  <p class="hint">${sentence}</p>
  ${problem ? html`<p class="error">${icon("alert")}<span>${sentenceView(problem)}</span></p>` : nothing}`;

function sizeText(row) {
  const compiled = row.execution?.builds_mb ? t("{size} compiled", { size: formatBytes(row.execution.builds_mb * 2 ** 20) }) : "";
  const own = row.disk_bytes ? t("{size} on disk", { size: formatBytes(row.disk_bytes) }) : row.download_mb ? t("{size} to download", { size: formatBytes(row.download_mb * 2 ** 20) }) : "";
  return [own, compiled].filter(Boolean).join(", ");
}

function factsView(row) {
  const size = sizeText(row);
  return html`
    <dl class="models-facts">
      ${isInstalled(row) && row.default_for.length ? html`<div><dt>${t("Default for")}</dt><dd>${listTasks(row.default_for)}</dd></div>` : nothing}
      ${size ? html`<div><dt>${t("Size")}</dt><dd>${size}</dd></div>` : nothing}
      ${row.upscale ? html`<div><dt>${t("Upscaling")}</dt><dd>${row.upscale}</dd></div>` : nothing}
      ${row.licences.length ? html`<div><dt>${t("Licence")}</dt><dd>${licenceView(row)}</dd></div>` : nothing}
    </dl>`;
}

function licenceView(row) {
  const names = row.licences.join("; ");
  const use = row.commercial === undefined ? "" : row.commercial ? t("commercial use allowed") : t("not for commercial use");
  return html`${row.licence_url ? html`<a href=${row.licence_url} target="_blank" rel="noreferrer">${names}</a>` : names}${use ? html`, <span class=${row.commercial ? "" : "models-restricted"}>${use}</span>` : nothing}`;
}

function progressView(row) {
  const progress = progressOf(row);
  const label = row.install_progress ? t("Installation of {title}", row) : t("Compilation of {title}", row);
  return html`
    <div class="models-progress">
      ${progress.total ? html`<progress aria-label=${label} max="1" .value=${progress.done / progress.total}></progress>` : html`<progress aria-label=${label}></progress>`}
      <p class="hint number">${installText(progress)}</p>
    </div>`;
}

function actionsView(row) {
  if (progressOf(row)) return html`<div class="row models-actions"><button type="button" aria-label=${row.install_progress ? t("Cancel installing {title}", row) : t("Cancel compiling {title}", row)} @click=${() => cancelInstall(row).then(() => restoreFocus(cardButton(row)))}>${t("Cancel")}</button></div>`;
  const isThere = isInstalled(row);
  const isDefault = isThere && row.tasks.every((task) => row.default_for.includes(task));
  const use = isThere ? t("Make default: {title}", { title: row.title }) : t("Use it: {title}", { title: row.title });
  return html`
    <div class="row models-actions">
      ${isDefault ? html`<span class="hint models-chosen">${icon("check")}${t("In use")}</span>` : html`<button type="button" aria-label=${use} @click=${() => useModel(row)}>${isThere ? t("Make default") : t("Use it")}</button>`}
      ${isThere && row.tasks.some((task) => COMPILED.has(task)) ? html`<button type="button" class="subtle" aria-label=${t("Speed up {title}", row)} @click=${() => optimize(row)}>${t("Speed up")}</button>` : nothing}
      ${isThere && row.default_for.length ? html`<button type="button" class="subtle" aria-label=${t("Number format of {title}", row)} @click=${() => changeFormats(row)}>${t("Number format")}</button>` : nothing}
      ${isThere && !row.demo ? html`<button type="button" class="subtle" aria-label=${t("Remove {title}", { title: row.title })} @click=${() => askToRemove(row)}>${t("Remove")}</button>` : nothing}
    </div>`;
}

/** Models with a denoiser, which can be compiled. */
const COMPILED = new Set(["text-to-image", "image-text-to-image"]);

async function optimize(row) {
  const { openOptimizing } = await import("../optimizing/optimizing.js");
  await openOptimizing(row, followInstall);
}

async function changeFormats(row) {
  const { openFormats } = await import("./formats.js");
  await openFormats(row, followInstall);
}

async function askToRemove(row) {
  const text = row.disk_bytes ? t("Deletes {size} from disk, except files that other models use. You can download it again.", { size: formatBytes(row.disk_bytes) }) : t("You can add it again later.");
  if (!(await confirmDialog({ title: t("Remove {title}?", { title: row.title }), text, confirm: t("Remove"), isDangerous: true }))) return;
  const result = await removeModel(row);
  void restoreFocus(cardButton(row));
  if (result) showToast(t("Removed {title} and freed {size}.", { title: row.title, size: formatBytes(result.freed_bytes) }));
}

const KINDS = { lora: t("LoRA"), inversion: t("Textual inversion") };

/** @param {object} addon */
export const addonView = (addon) => html`
  <li class="models-addon">
    <div>
      <h3>${addon.name}</h3>
      <p class="hint">${[KINDS[addon.kind] ?? addon.kind, addon.family, formatBytes(addon.size)].filter(Boolean).join(" · ")}</p>
      ${addon.trigger_words.length ? html`<p>${t("Trigger words: {words}", { words: addon.trigger_words.join(", ") })}</p>` : nothing}
    </div>
    <button type="button" class="subtle" aria-label=${t("Remove {title}", { title: addon.name })} @click=${() => askToRemove({ ...addon, title: addon.name, disk_bytes: addon.size })}>${t("Remove")}</button>
  </li>`;
