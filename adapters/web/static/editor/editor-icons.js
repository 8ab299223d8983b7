// Icons that only the editor needs.

import { html, svg } from "../core/render.js";

const SHAPES = {
  eraser: svg`<path d="M8 20H20M4.500 14.500l9-9 6 6-8.500 8.500H8z"/><path d="M9 10l6 6"/>`,
  lasso: svg`<path d="M12 4c5 0 8 2.500 8 5.500S17 15 12 15s-8-2.500-8-5.500S7 4 12 4z"/><path d="M7 14c-2 1-1.500 3.500.5 3.500S10 20 8 21"/>`,
  rectangle: svg`<rect x="4" y="6" width="16" height="12" stroke-dasharray="3 2.500"/>`,
  move: svg`<path d="M12 3v18M3 12h18M9 6l3-3 3 3M9 18l3 3 3-3M6 9l-3 3 3 3M18 9l3 3-3 3"/>`,
  invert: svg`<circle cx="12" cy="12" r="8"/><path d="M12 4a8 8 0 0 1 0 16z" fill="currentColor"/>`,
  redo: svg`<path d="M19 9h-9a5 5 0 0 0 0 10h6M15 5l4 4-4 4"/>`,
  fit: svg`<path d="M4 9V4h5M15 4h5v5M20 15v5h-5M9 20H4v-5"/>`,
  extend: svg`<rect x="8" y="8" width="8" height="8"/><path d="M3 12h2M19 12h2M12 3v2M12 19v2"/>`,
};

/** @param {keyof typeof SHAPES} name */
export const editIcon = (name) => html`<svg class="icon" viewBox="0 0 24 24" aria-hidden="true" focusable="false">${SHAPES[name]}</svg>`;
