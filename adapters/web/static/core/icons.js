// Icons as inline SVG: 24 × 24, strokes in the colour of the text.

import { html, svg } from "./render.js";

const SHAPES = {
  account: svg`<circle cx="12" cy="8.5" r="3.5"/><path d="M5 20c.6-4 3.4-6 7-6s6.4 2 7 6"/>`,
  admin: svg`<path d="M12 3l7.5 3v5.500c0 4.5-3 7.8-7.5 9.5-4.5-1.7-7.5-5-7.5-9.500V6z"/><path d="M9 12l2.2 2.200L15.2 10"/>`,
  alert: svg`<path d="M12 4 2.8 20h18.400z"/><path d="M12 10v4.500M12 17.200v.1"/>`,
  "arrow-left": svg`<path d="M19 12H5M11 6l-6 6 6 6"/>`,
  "arrow-right": svg`<path d="M5 12h14M13 6l6 6-6 6"/>`,
  ask: svg`<path d="M4 5h16v11H11l-4 4v-4H4z"/>`,
  brush: svg`<path d="M20 4 10 14M9 14c-3 0-3 4-6 5 2 1.5 8 1.5 8-3z"/>`,
  check: svg`<path d="M5 12.500l4.5 4.500L19 7.5"/>`,
  close: svg`<path d="M6 6l12 12M18 6 6 18"/>`,
  collection: svg`<path d="M4 7h5l2 2h9v10H4z"/>`,
  compare: svg`<path d="M12 3v18M4 6h5v12H4zM15 6h5v12h-5z"/>`,
  copy: svg`<rect x="8" y="8" width="12" height="12" rx="1.5"/><path d="M16 8V4H4v12h4"/>`,
  create: svg`<path d="M12 3l1.9 6.100L20 11l-6.1 1.900L12 19l-1.9-6.100L4 11l6.1-1.900z"/><path d="M19 17v4M17 19h4"/>`,
  download: svg`<path d="M12 4v11M7 10.500l5 5 5-5M5 20h14"/>`,
  edit: svg`<path d="M4 20l1-4.500L16.5 4 20 7.5 8.5 19z"/>`,
  external: svg`<path d="M14 4h6v6M20 4 11 13M18 14v6H4V6h6"/>`,
  filter: svg`<path d="M4 6h16M7 12h10M10 18h4"/>`,
  gallery: svg`<rect x="4" y="4" width="7" height="9" rx="1"/><rect x="13" y="4" width="7" height="5" rx="1"/><rect x="4" y="15" width="7" height="5" rx="1"/><rect x="13" y="11" width="7" height="9" rx="1"/>`,
  heart: svg`<path d="M12 20C5 15.5 3.5 11.8 3.5 9A4.5 4.5 0 0 1 12 7a4.5 4.5 0 0 1 8.5 2c0 2.8-1.5 6.5-8.5 11z"/>`,
  image: svg`<rect x="4" y="5" width="16" height="14" rx="1.5"/><circle cx="9" cy="10" r="1.5"/><path d="M4 17l5-4 3.5 3 3-2.500L20 17"/>`,
  key: svg`<circle cx="8" cy="12" r="4"/><path d="M12 12h9M18 12v4"/>`,
  keyboard: svg`<rect x="3" y="6" width="18" height="12" rx="1.5"/><path d="M7 10h.1M11 10h.1M15 10h.1M8 14h8"/>`,
  link: svg`<path d="M10 14a4 4 0 0 0 5.7 0l3-3a4 4 0 0 0-5.7-5.700l-1 1M14 10a4 4 0 0 0-5.7 0l-3 3A4 4 0 0 0 11 18.700l1-1"/>`,
  minus: svg`<path d="M5 12h14"/>`,
  models: svg`<path d="M12 3l8 4.500v9L12 21l-8-4.500v-9z"/><path d="M4 7.500l8 4.5 8-4.500M12 12v9"/>`,
  more: svg`<path d="M5 12h.1M12 12h.1M19 12h.1"/>`,
  photo: svg`<path d="M4 8h4l1.5-2.500h5L16 8h4v11H4z"/><circle cx="12" cy="13" r="3.5"/>`,
  plus: svg`<path d="M12 5v14M5 12h14"/>`,
  queue: svg`<path d="M4 6h16M4 12h16M4 18h9"/><path d="M17 16v5l4-2.500z"/>`,
  refresh: svg`<path d="M20 11a8 8 0 1 0-2.3 6.200M20 4v7h-7"/>`,
  reuse: svg`<path d="M4 9h11a5 5 0 0 1 0 10H9M8 5 4 9l4 4"/>`,
  search: svg`<circle cx="10.5" cy="10.5" r="6"/><path d="M15 15l5.5 5.5"/>`,
  settings: svg`<path d="M4 7h9M17 7h3M4 17h3M11 17h9"/><circle cx="15" cy="7" r="2"/><circle cx="9" cy="17" r="2"/>`,
  "sign-out": svg`<path d="M14 4H5v16h9M10 12h11M17 8l4 4-4 4"/>`,
  trash: svg`<path d="M4 7h16M9 7V4h6v3M6 7l1 13h10l1-13M10 11v5M14 11v5"/>`,
  undo: svg`<path d="M5 9h9a5 5 0 0 1 0 10H8M9 5 5 9l4 4"/>`,
  upscale: svg`<path d="M9 20H4v-5M15 4h5v5M4 20l7-7M20 4l-7 7"/>`,
  vary: svg`<path d="M4 8h3c4 0 5 8 9 8h4M4 16h3c1.5 0 2.5-1 3.3-2.500M13 9.500c.8-1 1.7-1.5 3-1.500h4M17 5l3 3-3 3M17 13l3 3-3 3"/>`,
};

/** @typedef {keyof typeof SHAPES} IconName */

/** An icon, hidden from screen readers: its button needs a label. @param {IconName} name */
export const icon = (name) => html`<svg class="icon" viewBox="0 0 24 24" aria-hidden="true" focusable="false">${SHAPES[name]}</svg>`;

/** The names of all icons. */
export const iconNames = Object.keys(SHAPES);
