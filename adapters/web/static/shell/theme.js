// The colour scheme: that of the system, light or dark. A cookie lets the server send it with the page.

import { signal, effect } from "../core/render.js";

const MAX_AGE_S = 31_536_000;

/** "system", "light" or "dark". */
export const theme = signal(document.documentElement.dataset.theme || "system");

effect(() => {
  const root = document.documentElement;
  if (theme.value === root.dataset.theme) return;
  root.dataset.theme = theme.value;
  document.cookie = `easel-theme=${theme.value}; path=/; max-age=${MAX_AGE_S}; samesite=strict`;
});

export const logo = `${document.documentElement.dataset.static}favicon.svg`;
