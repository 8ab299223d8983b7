// The virtualized grid: only visible rows are in the document. Scroll anchoring keeps the visible pictures in place when
// others are added, removed or resized.

import { computed, html, nothing, ref, render, repeat, renderOnSignals, runOnSignals, signal, storedSignal } from "../core/render.js";
import { background } from "../core/router.js";
import { t } from "../core/text.js";
import { formatDay } from "./days.js";
import { findItem, findRow, layOut, nearestItem } from "./layout.js";
import { arrivals, entries, isComplete, loadMore, order, pageError, RANKED, showArrivals, total, waitForArrivals } from "./listing.js";
import { clearSelection, isSelectMode, selected, selectTo, toggle } from "./selection.js";
import { tileView } from "./tile.js";

const ROW_HEIGHTS = [100, 132, 178, 240, 340];
const PHONE_ROW_HEIGHTS = [76, 100, 150, 230, 380];
const PHONE_WIDTH = 640;
const HEAD_HEIGHT = 44;
/** A row of which less is visible is not loaded before the first scroll, px. */
const SLIVER = 32;
const LONG_PRESS_MS = 450;

/** How large the pictures are: 0 to 4; null: as fits the screen. */
export const density = storedSignal("gallery.density", null);
export const DENSITIES = ROW_HEIGHTS.length;
/** The key of the entry that has the focus when the grid is entered. */
export const activeKey = signal(null);

const width = signal(0);
const viewport = signal({ top: 0, bottom: 0 });
const focusedKey = signal(null);
/** Rows beyond the viewport are rendered only after the first scroll. */
const hasScrolled = signal(false);

export const shownDensity = computed(() => density.value ?? (width.value < PHONE_WIDTH ? 2 : 3));

const layout = computed(() => {
  const isNarrow = width.value < PHONE_WIDTH;
  const rowHeight = (isNarrow ? PHONE_ROW_HEIGHTS : ROW_HEIGHTS)[shownDensity.value];
  return width.value ? layOut(entries.value, { width: width.value, rowHeight, gap: isNarrow ? 4 : 8, headHeight: HEAD_HEIGHT }) : { rows: [], height: 0 };
});

/** The estimated height of the pages that are not loaded yet. */
const unloadedHeight = computed(() => {
  const left = total.value - order.value.length - arrivals.value.length;
  return isComplete.value || left <= 0 || !order.value.length ? 0 : (layout.value.height / order.value.length) * left;
});

/** The visible rows, as text so that it changes only when others become visible. */
const span = computed(() => {
  const { rows } = layout.value;
  const { top, bottom } = viewport.value;
  const margin = hasScrolled.value ? (bottom - top) / 2 : -SLIVER;
  const last = Math.min(rows.length - 1, findRow(rows, bottom + margin));
  return `${findRow(rows, top - margin)} ${rows[last] && rows[last].top > bottom + margin ? last - 1 : last}`;
});

const shownRows = computed(() => {
  const [first, last] = span.value.split(" ").map(Number);
  const { rows } = layout.value;
  const focused = focusedKey.value && findItem(rows, focusedKey.value);
  const shown = rows.slice(first, last + 1);
  return focused && (focused.row < first || focused.row > last) ? [...shown, rows[focused.row]] : shown;
});

const tabKey = computed(() => {
  const shown = shownRows.value.flatMap((row) => row.items);
  return shown.some((item) => item.entry.key === activeKey.value) ? activeKey.value : shown[0]?.entry.key;
});

const headView = ({ day, top }) => html`<h2 class="gallery-day" .style=${`transform: translateY(${top - HEAD_HEIGHT}px)`}>${day === RANKED ? t("Best matches") : formatDay(day)}</h2>`;

function rowsView() {
  const parts = shownRows.value.flatMap((row) => [...(row.day ? [{ key: row.day, row, item: null }] : []), ...row.items.map((item) => ({ key: item.entry.key, item, row }))]);
  return repeat(parts, (part) => part.key, ({ item, row, key }) => (item ? tileView(item, row, key === tabKey.value) : headView(row)));
}

let element = null;
let top = 0;
/** What the tabs of a phone cover. */
let coveredBelow = 0;
/** The row at the upper edge, which keeps its place when the layout changes. */
let anchor = null;
/** Where the layout has scrolled to itself. */
let ownScroll = -1;
let stops = [];

/** Space that sticks above the grid. */
const coveredHeight = () => document.querySelector(".gallery-bar")?.getBoundingClientRect().bottom ?? 0;

function measure() {
  if (!element || background.peek()) return;
  top = element.getBoundingClientRect().top + window.scrollY;
  coveredBelow = Number.parseFloat(getComputedStyle(document.getElementById("main")).paddingBottom) || 0;
  if (element.clientWidth !== width.peek()) width.value = element.clientWidth;
  updateViewport();
}

function updateViewport() {
  if (!element || background.peek()) return;
  const upper = window.scrollY - top;
  viewport.value = { top: upper, bottom: upper + window.innerHeight - coveredBelow };
}

/** Remembers what is at the upper edge after each scroll. */
function setAnchor() {
  const upper = window.scrollY - top;
  const { rows } = layout.peek();
  const row = rows[findRow(rows, upper + coveredHeight())];
  anchor = row && window.scrollY > 4 ? { keys: row.items.map((item) => item.entry.key), offset: row.top - upper } : null;
}

/** Scrolls, and makes the new position the anchor. @param {number} y */
export function scrollPage(y) {
  window.scrollTo(0, y);
  hasScrolled.value = true;
  updateViewport();
  setAnchor();
}

/** Applies a new layout before it is painted: the height, then the anchor position. */
function applyLayout() {
  const { rows, height } = layout.value;
  element.style.height = `${Math.max(0, height + unloadedHeight.value)}px`;
  const kept = anchor?.keys.map((key) => findItem(rows, key)).find(Boolean);
  if (kept) {
    const wanted = Math.round(top + rows[kept.row].top - anchor.offset);
    if (Math.abs(wanted - window.scrollY) > 1 && !background.peek()) {
      window.scrollTo(0, wanted);
      ownScroll = window.scrollY;
    }
  }
  updateViewport();
}

function loadNearEnd() {
  const { bottom, top: upper } = viewport.value;
  if (order.value.length && !isComplete.value && !pageError.value && bottom + (bottom - upper) > layout.value.height) void loadMore();
}

/** Whether new pictures would move visible ones. */
const isInUse = () => Boolean(element) && (window.scrollY > 4 || element.matches(":hover") || element.contains(document.activeElement));

function onScroll() {
  hasScrolled.value = true;
  updateViewport();
  if (Math.abs(window.scrollY - ownScroll) > 1) setAnchor();
  if (window.scrollY <= 4 && arrivals.peek().length) showArrivals();
}

/** For `ref`: the element comes and goes with the view. @param {HTMLElement | undefined} given */
function attach(given) {
  stops.forEach((stop) => stop());
  stops = [];
  element = given ?? null;
  if (element) queueMicrotask(() => element === given && start());
  else waitForArrivals(() => false);
}

function start() {
  const root = element;
  const observer = new ResizeObserver(measure);
  observer.observe(element);
  measure();
  waitForArrivals(isInUse);
  window.addEventListener("scroll", onScroll, { passive: true });
  window.addEventListener("resize", measure);
  stops = [
    runOnSignals(applyLayout), renderOnSignals(root, rowsView), runOnSignals(loadNearEnd), () => render(nothing, root), // its parts follow no more
    () => observer.disconnect(), () => window.removeEventListener("scroll", onScroll), () => window.removeEventListener("resize", measure),
  ];
}

/** Scrolls as little as is needed, then moves the focus there. @param {string} key @param {{preventFocus?: boolean}} [options] */
export function focusTile(key, { preventFocus = false } = {}) {
  const { rows } = layout.peek();
  const found = findItem(rows, key);
  if (!found || !element) return false;
  activeKey.value = key;
  hasScrolled.value = true;
  const row = rows[found.row];
  const upper = top + row.top - (row.day ? HEAD_HEIGHT : 0) - coveredHeight() - 8;
  const lower = top + row.top + row.height + 8 - window.innerHeight + coveredBelow;
  if (window.scrollY > upper) scrollPage(Math.max(0, upper));
  else if (window.scrollY < lower) scrollPage(lower);
  if (!preventFocus) requestAnimationFrame(() => element?.querySelector(`[data-key="${key}"] a`)?.focus({ preventScroll: true }));
  return true;
}

/** The entry that an arrow key leads to. */
function neighbour(key, direction) {
  const { rows } = layout.peek();
  const all = entries.peek();
  const at = all.findIndex((entry) => entry.key === key);
  const found = findItem(rows, key);
  if (at < 0 || !found) return all[0];
  const { left, width: itemWidth } = rows[found.row].items[found.item];
  const vertical = { ArrowDown: 1, ArrowUp: -1 }[direction];
  if (vertical) return (rows[found.row + vertical] && nearestItem(rows[found.row + vertical], left + itemWidth / 2).entry) ?? all[at];
  return { ArrowRight: all[at + 1], ArrowLeft: all[at - 1], Home: all[0], End: all.at(-1) }[direction] ?? all[at];
}

function onKeyDown(event) {
  const key = event.target.closest("[data-key]")?.dataset.key;
  if (!key || event.altKey) return;
  if (event.key === " " || event.key === "x") {
    event.preventDefault();
    toggle(activeKey.peek() ?? key);
  } else if (/^Arrow|^(Home|End)$/.test(event.key)) {
    event.preventDefault();
    const from = activeKey.peek() && focusedKey.peek() ? activeKey.peek() : key;
    const next = neighbour(from, event.key);
    if (event.shiftKey) selectTo(next.key, from);
    focusTile(next.key);
  } else if (event.key === "Escape" && isSelectMode.peek()) {
    event.preventDefault();
    clearSelection();
  }
}

function onClick(event) {
  const tile = event.target.closest("[data-key]");
  if (!tile || event.button) return;
  const { key } = tile.dataset;
  if (key === pressedKey) return void event.preventDefault();
  const isCheck = Boolean(event.target.closest(".gallery-check"));
  if (!isCheck && !event.shiftKey && !event.ctrlKey && !event.metaKey && !isSelectMode.peek()) return void (activeKey.value = key);
  event.preventDefault();
  if (event.shiftKey) selectTo(key);
  else toggle(key);
  activeKey.value = key;
}

let pressTimer = null;
/** What a long touch has selected, until the next one: the click at its end does nothing more. */
let pressedKey = null;

/** A long touch begins to select. */
function onPointerDown(event) {
  clearTimeout(pressTimer);
  pressedKey = null;
  const key = event.target.closest("[data-key]")?.dataset.key;
  if (event.pointerType !== "touch" || !key) return;
  pressTimer = setTimeout(() => {
    pressedKey = key;
    if (!selected.peek().has(key)) toggle(key);
  }, LONG_PRESS_MS);
}

const endPress = () => clearTimeout(pressTimer);
const onContextMenu = (event) => isSelectMode.peek() && matchMedia("(pointer: coarse)").matches && event.preventDefault();

function onFocusIn(event) {
  const key = event.target.closest("[data-key]")?.dataset.key;
  if (!key) return;
  focusedKey.value = key;
  activeKey.value = key;
}

const onFocusOut = (event) => !element?.contains(event.relatedTarget) && (focusedKey.value = null);

/** @param {{label: string, onApproach: () => void}} options `onApproach`: a picture may be opened soon */
export const gridView = ({ label, onApproach }) => html`
  <div class="gallery-grid ${isSelectMode.value ? "gallery-selecting" : ""}" role="group" aria-label=${label} ${ref(attach)}
    @keydown=${onKeyDown} @click=${onClick} @focusin=${onFocusIn} @focusout=${onFocusOut} @pointerover=${onApproach}
    @pointerdown=${onPointerDown} @pointerup=${endPress} @pointermove=${endPress} @pointercancel=${endPress} @contextmenu=${onContextMenu}></div>`;
