// Every shortcut that works in the present view, in a dialog.

import { openDialog } from "../core/dialog.js";
import { html } from "../core/render.js";
import { shortcutGroups } from "../core/shortcuts.js";
import { t } from "../core/text.js";

export const openShortcutList = () => openDialog({
  title: t("Keyboard shortcuts"),
  view: () => shortcutGroups.value.map(({ title, shortcuts }) => html`
    <h3>${title}</h3>
    <dl class="shortcuts">
      ${shortcuts.filter((one) => one.label).map(({ keys, label }) => html`<div><dt>${keys.split("+").map((key) => html`<kbd>${key.length === 1 ? key.toUpperCase() : key}</kbd> `)}</dt><dd>${label}</dd></div>`)}
    </dl>`),
});
