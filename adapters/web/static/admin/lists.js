// Resources of the admin API: paginated, and polled while they are shown.

import { get } from "../core/api.js";
import { connection } from "../core/connection.js";
import { html, nothing, signal } from "../core/render.js";
import { errorView, loadingView } from "../core/states.js";
import { t } from "../core/text.js";
import { showToast } from "../core/toast.js";

/** A resource of `/admin`. `body` is null before it was loaded. */
export class Resource {
  /** @param {string} path @param {string} [key] of the list in its body, which comes in pages */
  constructor(path, key = "") {
    this.path = path;
    this.key = key;
    this.state = signal({ body: null, error: null });
    this.query = "";
    this.count = 0;
  }

  get body() {
    return this.state.value.body;
  }

  /** Keeps the current body while loading. @param {Record<string, string>} [query] */
  async load(query = {}) {
    const text = new URLSearchParams(Object.entries(query).filter(([, value]) => value)).toString();
    const isSame = text === this.query && this.state.peek().body;
    this.query = text;
    const turn = ++this.count;
    if (this.state.peek().error) this.state.value = { body: null, error: null };
    try {
      const body = await get(`${this.path}${text && `?${text}`}`);
      if (turn === this.count) this.state.value = { body, error: null };
    } catch (error) {
      if (turn !== this.count) return;
      if (!isSame) this.state.value = { body: null, error };
      else if (error.code !== "offline") showToast(error.message, { kind: "error" });
    }
  }

  reload() {
    return this.load(Object.fromEntries(new URLSearchParams(this.query)));
  }

  async loadMore() {
    const { body } = this.state.peek();
    const query = new URLSearchParams(this.query);
    query.set("before", body.next);
    try {
      const page = await get(`${this.path}?${query}`);
      if (this.state.peek().body === body) this.state.value = { error: null, body: { ...page, [this.key]: [...body[this.key], ...page[this.key]] } };
    } catch (error) {
      showToast(error.message, { kind: "error" });
    }
  }

  /** Removes an item from what is shown. @param {(item: object) => boolean} isGone */
  drop(isGone) {
    const { body } = this.state.peek();
    if (!body) return;
    const left = body[this.key].filter((item) => !isGone(item));
    this.state.value = { error: null, body: { ...body, [this.key]: left, total: body.total - (body[this.key].length - left.length) } };
  }
}

/** Its state, or `view(body)` once there is something to show. @param {Resource} resource @param {(body: object) => unknown} view */
export function resourceView(resource, view) {
  const { body, error } = resource.state.value;
  if (error) return errorView(error, () => resource.reload());
  return body ? view(body) : loadingView();
}

/** @param {Resource} resource */
export const moreView = (resource) => (resource.body?.next ? html`<p class="admin-more"><button type="button" @click=${() => resource.loadMore()}>${t("Show more")}</button></p>` : nothing);

/** Reloads a resource again and again while the page is visible. @param {Resource} resource @param {number} intervalMs @param {() => boolean} [isWanted] @returns {() => void} ends it */
export function poll(resource, intervalMs, isWanted = () => true) {
  const timer = setInterval(() => {
    const isPaged = resource.state.peek().body?.[resource.key]?.length > 50;
    if (!document.hidden && connection.peek() === "online" && !isPaged && isWanted()) void resource.reload();
  }, intervalMs);
  return () => clearInterval(timer);
}

/** Runs a change; a refusal is shown. @param {() => Promise<unknown>} work @returns {Promise<boolean>} whether it was done */
export async function attempt(work) {
  try {
    await work();
    return true;
  } catch (error) {
    showToast(error.message, { kind: "error" });
    return false;
  }
}
