// The client's routes: history, links, titles, focus and scroll positions.

import { onReturn } from "./connection.js";
import { batch, computed, signal } from "./render.js";

/**
 * @typedef {object} Route
 * @property {string} name
 * @property {string} pattern such as "/p/{job}/{n}"
 * @property {string} folder whose style sheet belongs to it
 * @property {() => string} title
 * @property {boolean} [isOverlay] is shown above the view that it was opened from, which stays as it is
 * @property {() => Promise<RouteModule>} load
 *
 * @typedef {object} RouteModule
 * @property {(place: Place) => unknown} view a template; renders again when signals change
 * @property {(place: Place) => void | Promise<void>} [load] called before the first view, and when params or query change
 * @property {() => void} [leave] called when another view replaces it
 * @property {() => void} [focus] moves the focus after a navigation; else the heading has it
 *
 * @typedef {object} Place
 * @property {Route} route
 * @property {Record<string, string>} params
 * @property {URLSearchParams} query
 * @property {string} url path and query
 */

const positions = new Map();
let routes = [];
/** The route of all other addresses. */
let missing = null;
let entryKey = 0;

/** The place that is shown: `{route, params, query, url, state, module, error}`; state is a signal: loading, ready or failed. */
export const place = signal(null);
/** The place below an overlay, or null. */
export const background = signal(null);
/** The title of the view, without the product's name. Views may set it with `setTitle`. */
export const title = signal("");
export const currentRoute = computed(() => (background.value ?? place.value)?.route.name ?? "");

export const setTitle = (text) => (title.value = text);

/** @param {Route[]} list @param {Route} fallback shown at all other addresses */
export function startRouter(list, fallback) {
  missing = fallback;
  routes = list.map((route) => ({ ...route, matcher: compile(route.pattern) }));
  history.scrollRestoration = "manual";
  history.replaceState({ ...history.state, key: history.state?.key ?? newKey() }, "");
  window.addEventListener("popstate", (event) => {
    savePosition();
    void enter(location.pathname + location.search, { key: event.state?.key, isReturn: true });
  });
  document.addEventListener("click", followLink);
  window.addEventListener("pagehide", savePosition);
  onReturn(() => place.peek()?.state.peek() === "failed" && retry());
  return enter(location.pathname + location.search, { key: history.state.key, isFirst: true });
}

/** Goes to an address of the page. @param {string} url @param {{replace?: boolean}} [options] */
export function navigate(url, { replace = false } = {}) {
  savePosition();
  const key = newKey();
  history[replace ? "replaceState" : "pushState"]({ key, isInside: !replace || history.state?.isInside }, "", url);
  return enter(url, { key });
}

/** Goes back, or to `fallback` if the page was opened here. @param {string} fallback */
export function goBack(fallback) {
  if (history.state?.isInside) history.back();
  else void navigate(fallback, { replace: true });
}

/** Changes the query of this place; neither focus nor scroll position move. @param {Record<string, string | null>} changes null or "" removes one */
export function updateQuery(changes) {
  const query = new URLSearchParams(place.peek().query);
  for (const [name, value] of Object.entries(changes)) value ? query.set(name, value) : query.delete(name);
  const text = query.toString();
  const url = location.pathname + (text ? `?${text}` : "");
  history.replaceState(history.state, "", url);
  const shown = place.peek();
  place.value = { ...shown, query, url };
  return callLoad(place.peek());
}

/** Reloads the current view after a failure. */
export const retry = () => enter(place.peek().url, { key: history.state?.key });

const newKey = () => `${Date.now().toString(36)}-${entryKey++}`;

function compile(pattern) {
  const names = [...pattern.matchAll(/\{(\w+)\}/g)].map((match) => match[1]);
  const expression = new RegExp(`^${pattern.replace(/\{\w+\}/g, "([^/]+)")}/?$`);
  return (path) => {
    const match = expression.exec(path);
    return match && Object.fromEntries(names.map((name, index) => [name, decode(match[index + 1])]));
  };
}

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // a damaged link: the view says that there is nothing
  }
}

function findRoute(path) {
  for (const route of routes) {
    const params = route.matcher(path);
    if (params) return { route, params };
  }
  return null;
}

function followLink(event) {
  const link = event.target.closest?.("a[href]");
  const isPlain = event.button === 0 && !(event.metaKey || event.ctrlKey || event.shiftKey || event.altKey);
  if (!link || !isPlain || event.defaultPrevented || link.target || link.hasAttribute("download")) return;
  const url = new URL(link.href);
  if (url.origin !== location.origin || (url.hash && url.pathname === location.pathname) || !findRoute(url.pathname)) return;
  event.preventDefault();
  void navigate(url.pathname + url.search, { replace: url.pathname + url.search === location.pathname + location.search });
}

async function enter(url, { key = newKey(), isReturn = false, isFirst = false } = {}) {
  const { pathname, searchParams: query } = new URL(location.origin + url);
  const found = findRoute(pathname) ?? { route: missing, params: {} };
  if (returnToBackground(url)) return undefined;
  const before = place.peek();
  const isSame = before?.route === found.route && before.state.peek() === "ready";
  const next = { ...found, query, url, key, module: isSame ? before.module : null, state: isSame ? before.state : signal("loading"), error: null };
  show(next, before);
  if (!isSame && !(await loadModule(next))) return undefined;
  const loaded = callLoad(next);
  await nextFrame();
  if (place.peek()?.key !== key) return undefined;
  if (!isFirst && !isSame) moveFocus(next);
  await loaded;
  await nextFrame();
  if (place.peek()?.key === key && !next.route.isOverlay && !isFirst) restorePosition(isReturn ? key : null, isSame && !isReturn);
  return undefined;
}

function show(next, before) {
  batch(() => {
    if (next.route.isOverlay && before && !before.route.isOverlay) {
      background.value = { ...before, focused: document.activeElement };
    } else if (!next.route.isOverlay && background.peek()) {
      background.peek().module?.leave?.();
      background.value = null;
    } else if (before && before.route !== next.route) before.module?.leave?.();
    place.value = next;
    title.value = next.route.title();
  });
}

/** Leaving an overlay shows the view below as it was. */
function returnToBackground(url) {
  const below = background.peek();
  if (!below || below.url !== url) return false;
  place.peek().module?.leave?.();
  batch(() => {
    const { focused: _focused, ...rest } = below;
    background.value = null;
    place.value = rest;
    title.value = rest.route.title();
  });
  queueMicrotask(() => below.focused?.isConnected && below.focused.focus({ preventScroll: true }));
  return true;
}

async function loadModule(next) {
  try {
    const [module] = await Promise.all([next.route.load(), loadStyle(next.route.folder)]);
    next.module = module;
    if (place.peek()?.key !== next.key) return false;
    return true;
  } catch (error) {
    fail(next, error);
    return false;
  }
}

function callLoad(next) {
  try {
    const loading = Promise.resolve(next.module.load?.(next)).catch((error) => fail(next, error));
    next.state.value = "ready";
    return loading;
  } catch (error) {
    fail(next, error);
    return Promise.resolve();
  }
}

export function fail(next, error) {
  next.error = error;
  next.state.value = "failed";
}

/** The style sheet of a folder, if it has one. @param {string} folder @param {string} [media] */
export function loadStyle(folder, media = "") {
  const { static: base, styles } = document.documentElement.dataset;
  const href = `${base}${folder}.css`;
  if (!styles.split(" ").includes(folder) || document.querySelector(`link[href="${href}"]`)) return Promise.resolve();
  const link = Object.assign(document.createElement("link"), { rel: "stylesheet", href, media });
  document.head.append(link);
  return new Promise((resolve) => {
    link.addEventListener("load", resolve);
    link.addEventListener("error", resolve);
  });
}

const nextFrame = () => new Promise((resolve) => (document.hidden ? setTimeout(resolve) : requestAnimationFrame(() => setTimeout(resolve))));

function moveFocus(next) {
  if (next.module.focus) return void next.module.focus();
  const headings = document.querySelectorAll(next.route.isOverlay ? ".overlay h1" : "main h1");
  const heading = headings[0];
  if (!heading) return;
  heading.tabIndex = -1;
  heading.focus({ preventScroll: true });
}

function savePosition() {
  const shown = background.peek() ?? place.peek();
  if (shown) positions.set(shown.key, window.scrollY);
}

function restorePosition(key, isKept) {
  if (!isKept) window.scrollTo(0, (key && positions.get(key)) || 0);
}
