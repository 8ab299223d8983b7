// The models, for an admin: what there is, what would fit, fetching one, and switching to it.

import { call, get, post, remove } from "./api.js";
import { announce, byId, h, say, seconds } from "./dom.js";

const LOOK_MS = 1000;
let timer = null;
let onSwitched = () => {};
/** What stands in a model's own place until it is answered, whatever else is told meanwhile: {name, node}. */
let aside = null;

/** The button appears for admins only. `onChange` is called after another model came into use. */
export async function setUpModels(onChange) {
  onSwitched = onChange;
  const me = await get("/me").catch(() => ({ admin: false }));
  const button = byId("open-models");
  button.hidden = !me.admin;
  if (!me.admin) return;
  button.addEventListener("click", () => (byId("models-dialog").showModal(), settle()));
  byId("models-release").addEventListener("click", release);
  byId("models-close").addEventListener("click", () => byId("models-dialog").close());
  byId("models-dialog").addEventListener("close", () => clearTimeout(timer));
  byId("add-model").addEventListener("submit", add);
}

async function refresh() {
  clearTimeout(timer);
  try {
    const { models, additions } = await get("/admin/models");
    say(byId("models-error"), "");
    const focused = document.activeElement?.dataset?.key;
    byId("models-here").replaceChildren(...models.filter((one) => one.enabled && !one.arrival).map(row));
    byId("models-more").replaceChildren(...models.filter((one) => !one.enabled || one.arrival).map(row));
    byId("models-additions").replaceChildren(...additions.map(addition));
    byId("additions-title").hidden = !additions.length;
    if (focused) byId("models-dialog").querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
    if (models.some((one) => one.arrival) && byId("models-dialog").open) timer = setTimeout(refresh, LOOK_MS);
  } catch (problem) {
    say(byId("models-error"), problem.message);
  }
}

/** Unload what no job runs on. */
async function release() {
  try {
    const { models, busy, freed_mb: freed } = await post("/models/release", {});
    const gone = models.length ? `${models.join(", ")}: unloaded, ${bytes(freed * 2 ** 20)} are free again.` : "No model was idle.";
    say(byId("models-said"), busy.length ? `${gone} At work, and still loaded: ${busy.join(", ")}.` : gone);
    say(byId("models-error"), "");
  } catch (problem) {
    say(byId("models-error"), problem.message);
  }
}

function row(model) {
  if (aside?.name === model.name && !model.arrival) return aside.node;
  const isHere = model.enabled && !model.arrival;
  const what = [model.tasks.join(", "), size(model), fits(model), model.licences.join("; ")].filter(Boolean).join(" · ");
  const use = h("button", { type: "button", class: isHere ? "quiet" : "", "data-key": `use ${model.name}`, click: () => begin(model) },
    isHere ? "Make it the default" : "Use it");
  const away = h("button", { type: "button", class: "quiet", "data-key": `remove ${model.name}`, click: () => takeAway(model.name) }, "Remove");
  const stop = h("button", { type: "button", "data-key": `stop ${model.name}`, click: () => giveUp(model.name) }, "Give up");
  const isDefault = isHere && model.tasks.every((task) => model.default_for.includes(task));
  return h("li", { class: "model", "data-model": model.name },
    h("p", {}, h("strong", {}, model.title), isHere && model.default_for.length ? ` is the default for ${model.default_for.join(", ")}` : ""),
    h("p", { class: "hint" }, what),
    !model.commercial && h("p", { class: "hint" }, "Not for commercial use."),
    model.arrival && arriving(model),
    model.error && h("p", { class: "error" }, model.error),
    h("div", { class: "row" }, model.arrival ? stop : !isDefault && use, isHere && !model.demo && away));
}

function arriving({ arrival, title }) {
  const percent = arrival.total ? Math.floor((100 * arrival.done) / arrival.total) : null;
  const bar = h("progress", { "aria-label": `How far ${title} is`, ...(percent === null ? {} : { max: 100, value: percent }) });
  const rate = arrival.rate ? `${bytes(arrival.rate)}/s` : "";
  const words = arrival.stage === "downloading" && percent !== null
    ? [`Downloading, ${percent} % of ${bytes(arrival.total)}`, rate, seconds(arrival.eta_s)].filter(Boolean).join(", ")
    : { checking: "Checking what came", loading: "Loading", trying: "Trying" }[arrival.stage] || "Getting ready";
  return h("div", { class: "progress" }, bar, h("span", {}, words));
}

const bytes = (number) => {
  if (number >= 2 ** 30) return `${(number / 2 ** 30).toFixed(1)} GiB`;
  return number >= 2 ** 20 ? `${Math.round(number / 2 ** 20)} MiB` : `${Math.round(number / 2 ** 10)} KiB`;
};

function size(model) {
  if (model.disk_bytes) return `${bytes(model.disk_bytes)} on the disk`;
  return model.download_mb ? `${bytes(model.download_mb * 2 ** 20)} to fetch` : "";
}

function fits({ fits: found }) {
  if (!found) return "";
  const each = found.seconds ? `, ${seconds(found.seconds)} for one` : "";
  return { resident: `fits${each}`, offload: `fits, with parts that come and go${each}`, cpu: `on the CPU${each}` }[found.place] || `does not fit: needs ${found.lacks}`;
}

function setAside({ name, title }, ...content) {
  const node = h("li", { class: "model", "data-model": name }, h("p", {}, h("strong", {}, title)), content);
  byId("models-dialog").querySelector(`[data-model="${CSS.escape(name)}"]`)?.replaceWith(node);
  aside = { name, node };
}

async function settle() {
  aside = null;
  await refresh();
}

async function begin(model) {
  setAside(model, h("p", { class: "hint", role: "status" }, "Asking the hub …"));
  try {
    const terms = await get(`/admin/models/${model.name}/terms`);
    const needed = [
      ...(terms.missing_bytes ? [`${bytes(terms.missing_bytes)} will be fetched; ${bytes(terms.free_bytes)} are free.`] : []),
      ...terms.licences.map((licence) => `Licence: ${licence}.`),
      ...(terms.commercial ? [] : ["It is not for commercial use."]),
      ...(terms.fits.place === "no" ? [`It is not expected to fit: it needs ${terms.fits.lacks}.`] : []),
    ];
    if (terms.must_accept || terms.fits.place === "no") askFirst(terms, needed);
    else await install(terms, false);
  } catch (problem) {
    refuse(model, problem);
  }
}

function refuse(model, problem) {
  const again = h("button", { type: "button", click: () => begin(model) }, "Try again");
  const no = h("button", { type: "button", click: settle }, "Not now");
  setAside(model, h("p", { class: "error", role: "alert" }, problem.message), h("div", { class: "row" }, again, no));
  again.focus();
}

/** The terms in the model's own place, with what it takes to go on. */
function askFirst(terms, needed) {
  const yes = h("button", { type: "button", class: "primary", click: () => install(terms, terms.fits.place === "no") },
    terms.must_accept ? "Accept and use it" : "Try it anyway");
  const no = h("button", { type: "button", click: settle }, "Not now");
  const link = terms.licence_url && h("p", {}, h("a", { href: terms.licence_url, target: "_blank", rel: "noreferrer" }, "Read the licence"));
  setAside(terms, needed.map((line) => h("p", { class: "hint" }, line)), link, h("div", { class: "row" }, yes, no));
  yes.focus();
}

async function install(terms, anyway) {
  try {
    await post(`/admin/models/${terms.name}/use`, { accept_licence: true, anyway });
    announce(`Fetching ${terms.title}`);
    void followTo(terms);
  } catch (problem) {
    refuse(terms, problem);
    return;
  }
  await settle();
}

/** Tells the rest of the page once it is in use, whether the dialog is open or not. */
async function followTo({ name, title }) {
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    const standing = await get(`/admin/models/${name}/installation`).catch(() => null);
    if (!standing?.is_over) continue;
    announce(standing.error || `${title} is in use.`);
    await Promise.all([onSwitched(), byId("models-dialog").open && refresh()]);
    return;
  }
}

const changing = (work) => async (name) => {
  try {
    await work(name);
    await onSwitched();
    await refresh();
  } catch (problem) {
    say(byId("models-error"), problem.message);
  }
};
const takeAway = changing((name) => remove(`/admin/models/${name}`));
const giveUp = changing((name) => remove(`/admin/models/${name}/installation`));

function addition(one) {
  return h("li", { class: "model" },
    h("p", {}, h("strong", {}, one.name), ` ${one.kind === "lora" ? "LoRA" : "textual inversion"} ${one.family}`),
    h("div", { class: "row" }, h("button", { type: "button", class: "quiet", click: () => takeAway(one.name) }, "Remove")));
}

async function add(event) {
  event.preventDefault();
  const source = byId("add-source").value.trim();
  if (!source) return;
  const headers = { "Content-Type": "application/json" };
  try {
    await call("/admin/models", { method: "POST", headers, body: JSON.stringify({ source }) });
    byId("add-source").value = "";
    await refresh();
  } catch (problem) {
    say(byId("models-error"), problem.message);
  }
}
