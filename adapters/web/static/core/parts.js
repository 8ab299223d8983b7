// Parts of a view that are loaded when they are first needed.

import { signal } from "./render.js";
import { loadStyle } from "./router.js";

/**
 * A part of a view from another folder; nothing until it is loaded. A failure is tried again by the next rendering.
 * @template T
 * @param {string} folder whose style sheet belongs to it
 * @param {() => Promise<T>} load
 * @returns {() => T | null} the module, or null; a signal
 */
export function lazyPart(folder, load) {
  const loaded = signal(null);
  let isLoading = false;
  return () => {
    if (!loaded.value && !isLoading) {
      isLoading = true;
      Promise.all([load(), loadStyle(folder)]).then(([module]) => (loaded.value = module)).catch(() => null).finally(() => (isLoading = false));
    }
    return loaded.value;
  };
}
