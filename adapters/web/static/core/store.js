// The page's state as signals. Components read them and never fetch this data themselves.

import { get, onUnauthorized, post, remove } from "./api.js";
import { batch, computed, signal, storedSignal } from "./render.js";
import { finishAll } from "./toast.js";

const { needsKey, maxUploadMb, maxFileMb, tooLarge } = document.body.dataset;

/** "starting" (or leaving), "signed-out" (no session), "lost" (the session ended) or "ready". */
export const session = signal("starting");
/** `{name, admin}`, or null before a session. */
export const person = signal(null);
/** `{limit, used, reserved, unit, resets_at}`, or null. */
export const quota = signal(null);
/** Of GET /commands. */
export const commands = signal([]);
/** Of GET /models. */
export const models = signal([]);
/** Why commands and models could not be loaded: an error, or null. */
export const storeError = signal(null);
/** Signals of jobs by id. The map is replaced when jobs come or go; a job's signal when the job changes. */
/** @type {import("./libraries.d.ts").Signal<Map<string, import("./libraries.d.ts").Signal<any>>>} */
export const jobs = signal(new Map());
/** Ids of known pictures that stay blurred until they are revealed. */
export const spoilers = new Set();
/** Whether the person's unfinished jobs were loaded once. */
export const hasJobs = signal(false);
/** Limits of uploads: `maxMb`, `maxFileMb` of HEIC, which only the server tells from others, and the sentence for larger files. */
export const uploadLimits = { maxMb: Number(maxUploadMb), maxFileMb: Number(maxFileMb), tooLarge };
/** Whether a key was given, so one can sign out. */
export const hasKey = signal(needsKey === "yes");

export const isAdmin = computed(() => Boolean(person.value?.admin));
export const isFinished = (job) => !["queued", "running"].includes(job.state);
/** The person's unfinished jobs: running ones first, then in their order. */
export const unfinishedJobs = computed(() =>
  [...jobs.value.values()]
    .map((one) => one.value)
    .filter((job) => !isFinished(job))
    .sort((one, other) => Number(one.state !== "running") - Number(other.state !== "running") || (one.created_at < other.created_at ? -1 : 1)),
);
export const queueCount = computed(() => unfinishedJobs.value.length);

/** The signal of a job, or undefined if the page does not know it. @param {string} id */
export const jobSignal = (id) => jobs.value.get(id);

/** Adds jobs, or replaces what is known of them. @param {...object} changed bodies of GET /jobs/{id} */
export function putJobs(...changed) {
  batch(() => {
    const added = changed.filter((job) => !jobs.peek().has(job.id));
    for (const job of changed) {
      for (const media of job.result?.media ?? []) if (media?.spoiler) spoilers.add(media.id);
      const known = jobs.peek().get(job.id);
      if (known && isFinished(known.peek()) && !isFinished(job)) continue; // an answer from before its end
      if (known) known.value = isFinished(job) ? job : { ...job, preview: known.peek().preview };
    }
    if (added.length) jobs.value = new Map([...jobs.peek(), ...added.map((job) => /** @type {const} */ ([job.id, signal(job)]))]);
  });
}

/** The progress of a job, with a preview or the words so far. @param {string} id @param {object} progress an event `progress` */
export function putProgress(id, { phase, step, steps, eta_s, preview, text }) {
  const known = jobs.peek().get(id);
  if (!known || isFinished(known.peek())) return;
  const job = known.peek();
  known.value = { ...job, state: "running", position: null, eta_s, progress: { phase, step, steps, text }, preview: preview || job.preview };
}

/** @param {...string} ids */
export function dropJobs(...ids) {
  const left = new Map(jobs.peek());
  for (const id of ids) left.delete(id);
  jobs.value = left;
}

export async function refreshQuota() {
  try {
    quota.value = await get("/quota");
  } catch {
    quota.value = null; // refreshed after the next job; nothing depends on it
  }
}

/** Also after a model was installed or removed. */
export async function refreshModels() {
  try {
    const [answered, listed] = await Promise.all([get("/commands"), get("/models")]);
    batch(() => {
      commands.value = answered.commands.filter((one) => !one.plugin); // those of plugins have no form here
      models.value = listed.models;
      storeError.value = null;
    });
  } catch (error) {
    storeError.value = error;
  }
}

export async function loadUnfinished() {
  try {
    const pages = await Promise.all(["queued", "running"].map((state) => get(`/jobs?state=${state}&limit=100`)));
    putJobs(...pages.flatMap((page) => page.jobs));
    hasJobs.value = true;
  } catch {
    // the stream of events brings them
  }
}

let signedIn = deferred();

function deferred() {
  const result = {};
  result.promise = new Promise((resolve) => (result.resolve = resolve));
  return result;
}

onUnauthorized(() => {
  session.value = person.peek() ? "lost" : "signed-out";
  hasKey.value = true;
  return signedIn.promise;
});

/** When this browser signed in, or false. The cookie itself is not readable, and only sent to the API. */
/** @type {import("./libraries.d.ts").Signal<number | false>} */
const wasSignedIn = storedSignal("signed-in", false);

/** Identifies the person, and loads the data that every view needs. */
export async function startSession() {
  if (location.hash.includes("key=")) await (await import("../one-time-link/redeem.js")).redeemLink(wasSignedIn);
  if (needsKey === "yes" && !wasSignedIn.peek()) session.value = "signed-out";
  else await openSession();
}

async function openSession() {
  const before = person.peek();
  const { person: name, is_admin: admin, via } = await get("/session");
  if (before && before.name !== name) return void location.reload(); // somebody else: nothing of the first person stays
  batch(() => {
    person.value = { name, admin };
    hasKey.value = via !== "local";
    session.value = "ready";
  });
  signedIn.resolve();
  signedIn = deferred();
  await Promise.all([refreshQuota(), refreshModels()]); // the stream of events brings the unfinished jobs
}

/** Throws a Problem: a wrong key, for instance. @param {string} key */
export async function signIn(key) {
  await post("/session", { key }, { quiet: true });
  wasSignedIn.value = Date.now();
  await openSession();
}

export async function signOut() {
  await finishAll(); // while it is still allowed
  session.value = "starting"; // ends the stream of events, which would be refused; nobody types into a page that is left
  await remove("/session", { quiet: true }).catch(() => null);
  wasSignedIn.value = false;
  location.assign("/");
}

/** Follows sign-in and sign-out in other tabs, so this one never acts for a person who has left. */
function followOtherTabs({ key, newValue }) {
  if (key !== "easel.signed-in") return;
  if (!newValue && session.peek() === "ready") session.value = "lost";
  else if (newValue && session.peek() !== "starting") void openSession().catch(() => null); // refused: the sign-in page stays
}

window.addEventListener("storage", followOtherTabs);
