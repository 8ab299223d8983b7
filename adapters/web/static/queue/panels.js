// What plugins show to everybody, as plain text.

import { get } from "../core/api.js";
import { html, nothing, signal } from "../core/render.js";

const panels = signal([]);

export async function loadPanels() {
  try {
    panels.value = (await get("/plugins/panels")).panels.filter((one) => !one.for_admins);
  } catch {
    panels.value = []; // the queue is shown without them
  }
}

export const panelsView = () => (panels.value.length ? html`<div class="queue-panels">${panels.value.map(panelView)}</div>` : nothing);

const panelView = ({ title, text, rows }, index) => html`
  <section class="card queue-panel" aria-labelledby=${`queue-panel-${index}`}>
    <h2 id=${`queue-panel-${index}`}>${title}</h2>
    ${text ? html`<p>${text}</p>` : nothing}
    ${rows.length ? html`<dl>${rows.map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>` : nothing}
  </section>`;
