// The models dialog, for admins: installed models, presets that would fit, installing one and switching to it.

import { call, get, post, remove } from "./api.js";
import { announce, byId, formatSeconds, h, setText } from "./dom.js";

const POLL_INTERVAL_MS = 1000;
let refreshTimer = null;
let onModelsChanged = () => {};
/** A question shown in place of a model until it is answered, whatever else is refreshed: {name, node}. */
let openQuestion = null;

/** `onChange` is called after another model came into use. */
export function setUpModels(onChange) {
  onModelsChanged = onChange;
  const button = byId("open-models");
  button.hidden = false;
  button.addEventListener("click", openModels);
  byId("unload-models").addEventListener("click", unloadModels);
  byId("models-close").addEventListener("click", () => byId("models-dialog").close());
  byId("models-dialog").addEventListener("close", () => clearTimeout(refreshTimer));
  byId("add-model").addEventListener("submit", addModel);
}

export function openModels() {
  byId("models-dialog").showModal();
  void closeQuestion();
}

async function refresh() {
  clearTimeout(refreshTimer);
  try {
    const { models, additions: addons } = await get("/admin/models");
    setText(byId("models-error"), "");
    const focused = document.activeElement?.dataset?.key;
    const isInstalled = (one) => one.enabled && !one.install_progress;
    byId("installed-models").replaceChildren(...models.filter(isInstalled).map(buildRow));
    byId("available-models").replaceChildren(...models.filter((one) => !isInstalled(one)).map(buildRow));
    byId("prompt-addons").replaceChildren(...addons.map(buildAddonRow));
    byId("prompt-addons-title").hidden = !addons.length;
    if (focused) byId("models-dialog").querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
    if (models.some((one) => one.install_progress) && byId("models-dialog").open) refreshTimer = setTimeout(refresh, POLL_INTERVAL_MS);
  } catch (problem) {
    setText(byId("models-error"), problem.message);
  }
}

async function unloadModels() {
  try {
    const { models, busy, freed_mb: freed } = await post("/models/unload", {});
    const result = models.length ? `Unloaded ${models.join(", ")} and freed ${formatBytes(freed * 2 ** 20)}.` : "No model was idle.";
    setText(byId("models-status"), busy.length ? `${result} Still loaded because jobs are running: ${busy.join(", ")}.` : result);
    setText(byId("models-error"), "");
  } catch (problem) {
    setText(byId("models-error"), problem.message);
  }
}

function buildRow(model) {
  if (openQuestion?.name === model.name && !model.install_progress) return openQuestion.node;
  const isInstalled = model.enabled && !model.install_progress;
  const facts = [model.tasks.join(", "), model.upscale, sizeText(model), fitText(model), model.licences.join("; ")].filter(Boolean).join(" · ");
  const use = h("button", { type: "button", class: isInstalled ? "subtle" : "", "data-key": `use ${model.name}`, click: () => startInstall(model) },
    isInstalled ? "Make it the default" : "Use it");
  const removeButton = h("button", { type: "button", class: "subtle", "data-key": `remove ${model.name}`, click: () => removeModel(model.name) }, "Remove");
  const cancel = h("button", { type: "button", "data-key": `cancel ${model.name}`, click: () => cancelInstall(model.name) }, "Cancel");
  const isDefault = isInstalled && model.tasks.every((task) => model.default_for.includes(task));
  return h("li", { class: "model", "data-model": model.name },
    h("p", {}, h("strong", {}, model.title), isInstalled && model.default_for.length ? ` is the default for ${model.default_for.join(", ")}` : ""),
    h("p", { class: "hint" }, facts),
    !model.commercial && h("p", { class: "hint" }, "Not for commercial use."),
    model.install_progress && buildProgress(model),
    model.error && h("p", { class: "error" }, model.error),
    h("div", { class: "row" }, model.install_progress ? cancel : !isDefault && use, isInstalled && !model.demo && removeButton));
}

function buildProgress({ install_progress: progress, title }) {
  const percent = progress.total ? Math.floor((100 * progress.done) / progress.total) : null;
  const bar = h("progress", { "aria-label": `Installation of ${title}`, ...(percent === null ? {} : { max: 100, value: percent }) });
  const rate = progress.rate ? `${formatBytes(progress.rate)}/s` : "";
  const text = progress.stage === "downloading" && percent !== null
    ? [`Downloading, ${percent} % of ${formatBytes(progress.total)}`, rate, formatSeconds(progress.eta_s)].filter(Boolean).join(", ")
    : { checking: "Verifying", loading: "Loading", trying: "Testing" }[progress.stage] || "Preparing";
  return h("div", { class: "progress" }, bar, h("span", {}, text));
}

const formatBytes = (number) => {
  if (number >= 2 ** 30) return `${(number / 2 ** 30).toFixed(1)} GiB`;
  return number >= 2 ** 20 ? `${Math.round(number / 2 ** 20)} MiB` : `${Math.round(number / 2 ** 10)} KiB`;
};

function sizeText(model) {
  if (model.disk_bytes) return `${formatBytes(model.disk_bytes)} on disk`;
  return model.download_mb ? `${formatBytes(model.download_mb * 2 ** 20)} download` : "";
}

function fitText({ fits }) {
  if (!fits) return "";
  const each = fits.seconds ? `, ${formatSeconds(fits.seconds)} each` : "";
  return { resident: `fits${each}`, offload: `fits with offloading${each}`, cpu: `on the CPU${each}` }[fits.place] || `does not fit: needs ${fits.missing}`;
}

function showQuestion({ name, title }, ...content) {
  const node = h("li", { class: "model", "data-model": name }, h("p", {}, h("strong", {}, title)), content);
  byId("models-dialog").querySelector(`[data-model="${CSS.escape(name)}"]`)?.replaceWith(node);
  openQuestion = { name, node };
}

async function closeQuestion() {
  openQuestion = null;
  await refresh();
}

async function startInstall(model) {
  showQuestion(model, h("p", { class: "hint", role: "status" }, "Querying the hub…"));
  try {
    const terms = await get(`/admin/models/${model.name}/terms`);
    const doesNotFit = terms.fits.place === "no";
    const lines = [
      ...(terms.missing_bytes ? [`Download: ${formatBytes(terms.missing_bytes)}; ${formatBytes(terms.free_bytes)} free on the disk.`] : []),
      ...terms.licences.map((licence) => `Licence: ${licence}.`),
      ...(terms.commercial ? [] : ["Not for commercial use."]),
      ...(doesNotFit ? [`It is not expected to fit: it needs ${terms.fits.missing}.`] : []),
    ];
    if (terms.must_accept || doesNotFit) askConfirmation(terms, lines, doesNotFit);
    else await install(terms, false);
  } catch (problem) {
    showProblem(model, problem);
  }
}

function showProblem(model, problem) {
  const retry = h("button", { type: "button", click: () => startInstall(model) }, "Try again");
  const decline = h("button", { type: "button", click: closeQuestion }, "Not now");
  showQuestion(model, h("p", { class: "error", role: "alert" }, problem.message), h("div", { class: "row" }, retry, decline));
  retry.focus();
}

/** Shows the terms in place of the model, with buttons to accept or decline them. */
function askConfirmation(terms, lines, force) {
  const accept = h("button", { type: "button", class: "primary", click: () => install(terms, force) },
    terms.must_accept ? "Accept and use it" : "Install anyway");
  const decline = h("button", { type: "button", click: closeQuestion }, "Not now");
  const link = terms.licence_url && h("p", {}, h("a", { href: terms.licence_url, target: "_blank", rel: "noreferrer" }, "Read the licence"));
  showQuestion(terms, lines.map((line) => h("p", { class: "hint" }, line)), link, h("div", { class: "row" }, accept, decline));
  accept.focus();
}

async function install(terms, force) {
  try {
    await post(`/admin/models/${terms.name}/use`, { accept_licence: true, force });
    announce(`Installing ${terms.title}`);
    void followInstall(terms);
  } catch (problem) {
    showProblem(terms, problem);
    return;
  }
  await closeQuestion();
}

/** Updates the rest of the page when the model is in use, whether the dialog is open or not. */
async function followInstall({ name, title }) {
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, POLL_INTERVAL_MS));
    const status = await get(`/admin/models/${name}/installation`).catch(() => null);
    if (!status?.is_over) continue;
    announce(status.error || `${title} is in use.`);
    await Promise.all([onModelsChanged(), byId("models-dialog").open && refresh()]);
    return;
  }
}

const changeModels = (work) => async (name) => {
  try {
    await work(name);
    await onModelsChanged();
    await refresh();
  } catch (problem) {
    setText(byId("models-error"), problem.message);
  }
};
const removeModel = changeModels((name) => remove(`/admin/models/${name}`));
const cancelInstall = changeModels((name) => remove(`/admin/models/${name}/installation`));

function buildAddonRow(addon) {
  return h("li", { class: "model" },
    h("p", {}, h("strong", {}, addon.name), ` ${addon.kind === "lora" ? "LoRA" : "textual inversion"} ${addon.family}`),
    addon.trigger_words.length > 0 && h("p", { class: "hint" }, `Words for prompts: ${addon.trigger_words.join(", ")}`),
    h("div", { class: "row" }, h("button", { type: "button", class: "subtle", click: () => removeModel(addon.name) }, "Remove")));
}

async function addModel(event) {
  event.preventDefault();
  const source = byId("add-source").value.trim();
  if (!source) return;
  const headers = { "Content-Type": "application/json" };
  try {
    await call("/admin/models", { method: "POST", headers, body: JSON.stringify({ source }) });
    byId("add-source").value = "";
    await refresh();
  } catch (problem) {
    setText(byId("models-error"), problem.message);
  }
}
