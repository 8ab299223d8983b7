// Rendering: everything of lit-html and signals that views use, and views that render again when a signal changes.

// @ts-types="./libraries.d.ts"
import { html, svg, nothing, noChange, render } from "../vendor/lit-html/lit-html.js";
// @ts-types="./libraries.d.ts"
import { directive } from "../vendor/lit-html/directive.js";
// @ts-types="./libraries.d.ts"
import { AsyncDirective } from "../vendor/lit-html/async-directive.js";
// @ts-types="./libraries.d.ts"
import { ifDefined } from "../vendor/lit-html/directives/if-defined.js";
// @ts-types="./libraries.d.ts"
import { live } from "../vendor/lit-html/directives/live.js";
// @ts-types="./libraries.d.ts"
import { ref } from "../vendor/lit-html/directives/ref.js";
// @ts-types="./libraries.d.ts"
import { repeat } from "../vendor/lit-html/directives/repeat.js";
// @ts-types="./libraries.d.ts"
import { batch, computed, effect, signal, untracked } from "../vendor/signals-core/signals-core.js";

export { html, svg, nothing, noChange, render, directive, AsyncDirective };
export { ifDefined, live, ref, repeat };
export { batch, computed, effect, signal, untracked };

/**
 * Calls `run` now, and again after any signal that it read has changed: once for all changes of one task.
 * @param {() => void} run
 * @returns {() => void} ends it
 */
export function runOnSignals(run) {
  let isOver = false;
  let dispose = () => {};
  const start = () => {
    dispose();
    if (isOver) return;
    let isFirst = true;
    dispose = effect(() => {
      if (!isFirst) return queueMicrotask(start);
      isFirst = false;
      return void run();
    });
  };
  start();
  return () => {
    isOver = true;
    dispose();
  };
}

/**
 * Renders `view()` into `container`, again whenever a signal changes that it read.
 * @param {HTMLElement} container
 * @param {() => unknown} view
 * @returns {() => void} ends it
 */
export const renderOnSignals = (container, view) => runOnSignals(() => render(view(), container));

class SignalViewDirective extends AsyncDirective {
  render() {
    return noChange;
  }

  update(_part, [view]) {
    this.view = view;
    return this.follow();
  }

  follow() {
    this.stop?.();
    let result = nothing;
    let isFirst = true;
    this.stop = runOnSignals(() => {
      result = this.view();
      if (!isFirst && this.isConnected) this.setValue(result);
    });
    isFirst = false;
    return result;
  }

  disconnected() {
    this.stop?.();
  }

  reconnected() {
    this.setValue(this.follow());
  }
}

/**
 * A part of a template that renders by itself when a signal that `view` reads changes: `${SignalView(() => html`…`)}`.
 * In a template of its own: `repeat` ends only the directives within what it removes.
 * @param {() => unknown} view
 */
export const SignalView = (view) => html`${follow(view)}`;

/** @type {(view: () => unknown) => unknown} */
const follow = directive(SignalViewDirective);

/**
 * A signal that is kept in this browser. What cannot be stored (private mode, a full disk) is kept for this visit.
 * @template T
 * @param {string} name
 * @param {T} initial
 * @param {{perTab?: boolean}} [options] perTab: kept for this tab only
 */
export function storedSignal(name, initial, { perTab = false } = {}) {
  const key = `easel.${name}`;
  const area = () => (perTab ? sessionStorage : localStorage);
  let value = initial;
  try {
    const text = area().getItem(key);
    if (text !== null) value = JSON.parse(text);
  } catch {
    // nothing readable is stored
  }
  const stored = signal(value);
  effect(() => {
    const current = stored.value;
    try {
      if (current === initial) area().removeItem(key);
      else area().setItem(key, JSON.stringify(current));
    } catch {
      // nothing can be stored
    }
  });
  return stored;
}
