// Installed and available models: loaded from the server, polled during installations.

import { get, remove } from "../core/api.js";
import { batch, computed, signal } from "../core/render.js";
import { commands, isAdmin, models, refreshModels } from "../core/store.js";
import { t } from "../core/text.js";
import { announce, showToast } from "../core/toast.js";

const POLL_INTERVAL_MS = 1000;
const MAX_EXAMPLES = 12;

/** What admins see; null before it was loaded. */
const listed = signal(null);
/** LoRAs and textual inversions. */
export const addons = signal([]);
/** What was trained here, with its report cards; only for admins. */
export const adapters = signal([]);
/** An address and an alternative text of an example, by the name of its model. */
export const examples = signal(new Map());
/** Names and titles of the models whose installation is followed. */
const followed = new Map();
let isOpen = false;
let isPolling = false;

/** All models and presets, null while they load. */
export const rows = computed(() => {
  if (isAdmin.value) return listed.value?.map((row) => ({ ...row, loaded: models.value.some((one) => one.name === row.name && one.loaded) })) ?? null;
  if (!commands.value.length) return null;
  return models.value.map((one) => ({ ...one, title: one.name, enabled: true, licences: one.licence ? [one.licence] : [], fits: null, isPublic: true }));
});

export const isInstalled = (row) => row.enabled && !row.install_progress;

/** Of its installation, or of its compilation, during which it serves on. */
export const progressOf = (row) => row.install_progress ?? row.optimization?.progress;

/** Only starters make pictures here. */
export const hasOnlyStarters = computed(() => {
  const makers = (rows.value ?? []).filter((row) => isInstalled(row) && row.tasks.includes("text-to-image"));
  return makers.length > 0 && makers.every((row) => row.demo);
});

/** Throws what `get` throws. */
export async function loadModels() {
  isOpen = true;
  if (isAdmin.peek()) await loadListed();
  void loadExamples();
}

export function leaveModels() {
  isOpen = false;
}

async function loadListed() {
  const body = await get("/admin/models");
  batch(() => {
    listed.value = body.models;
    addons.value = body.additions;
    adapters.value = body.adapters;
  });
  for (const row of body.models) if (progressOf(row)) followed.set(row.name, row.title);
  void poll();
}

/** Resolves when it is listed; its end is reported, whatever view is open then. @param {{name: string, title: string}} model */
export async function followInstall({ name, title }) {
  followed.set(name, title);
  await loadListed().catch(() => null);
  void poll();
}

async function poll() {
  if (isPolling) return;
  isPolling = true;
  while (followed.size) {
    await new Promise((resolve) => setTimeout(resolve, POLL_INTERVAL_MS));
    const names = [...followed.keys()];
    const states = await Promise.all(names.map((name) => get(`/admin/models/${name}/installation`, { quiet: true }).catch((error) => (error.status ? { is_over: true, isGone: true } : null))));
    for (const [index, state] of states.entries()) if (state?.is_over) await finish(names[index], state);
    if (isOpen) await loadListed().catch(() => null);
  }
  isPolling = false;
}

async function finish(name, state) {
  const title = followed.get(name);
  followed.delete(name);
  await refreshModels();
  if (state.isGone) return;
  if (state.trials.some((trial) => trial.has_picture)) setExample(name, { src: `/api/v1/admin/models/${name}/installation/picture`, alt: t("Test picture by {title}", { title }) });
  if (state.error) announce(state.error);
  else if (state.optimization) showToast(t("{title} was compiled and tried.", { title }));
  else showToast(t("{title} is ready.", { title }));
}

const setExample = (name, example) => (examples.value = new Map(examples.peek()).set(name, example));

/** The person's latest picture by each model. */
async function loadExamples() {
  const makers = models.peek().filter((one) => one.tasks.includes("text-to-image") && !examples.peek().has(one.name));
  await Promise.all(makers.slice(0, MAX_EXAMPLES).map(async ({ name }) => {
    const page = await get(`/jobs?model=${encodeURIComponent(name)}&limit=3`, { quiet: true }).catch(() => ({ jobs: [] }));
    const media = page.jobs.flatMap((job) => job.result?.media ?? []).find((one) => one && !one.spoiler);
    if (media) setExample(name, { src: `${media.url}?w=256`, alt: media.alt });
  }));
}

/** Runs a change of the models and reloads them. @template Result @param {() => Promise<Result>} work */
export async function changeModels(work) {
  try {
    const result = await work();
    await Promise.all([refreshModels(), loadListed()]);
    return result;
  } catch (error) {
    showToast(error.message, { kind: "error" });
    return null;
  }
}

/** @param {{name: string}} model */
export const cancelInstall = ({ name }) => changeModels(() => remove(`/admin/models/${name}/installation`));

/** `{freed_bytes}`, or null. @param {{name: string}} model */
export const removeModel = ({ name }) => changeModels(() => remove(`/admin/models/${name}`));
