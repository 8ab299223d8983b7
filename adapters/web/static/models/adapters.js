// The adapters of a model that were trained here: figures of their report cards, switching and removing.

import { post } from "../core/api.js";
import { confirmDialog } from "../core/dialog.js";
import { restoreFocus } from "../core/focus.js";
import { icon } from "../core/icons.js";
import { html, nothing, repeat } from "../core/render.js";
import { sentenceView } from "../core/sentence.js";
import { t } from "../core/text.js";
import { showToast } from "../core/toast.js";
import { adapters, changeModels, removeModel } from "./catalogue.js";
import { cardButton } from "./installing.js";

/** Nothing for a model without any. @param {object} row of a model */
export function adaptersView(row) {
  const own = adapters.value.filter((one) => one.model === row.name);
  if (!own.length) return nothing;
  return html`
    <div class="models-adapters">
      <h4 id=${`adapters-${row.name}`}>${t("Adapters")}</h4>
      <ul aria-labelledby=${`adapters-${row.name}`}>${repeat(own, (one) => one.name, (one) => adapterView(row, one))}</ul>
    </div>`;
}

const adapterView = (row, one) => html`
  <li class="models-adapter" data-adapter=${one.name}>
    <div>
      <p><strong>${one.name}</strong> ${one.is_used ? html`<span class="tag">${t("In use")}</span>` : nothing}</p>
      <p class="hint number"><a href="/admin?tab=training" aria-label=${`${scoresText(one.report)}. ${t("Report card of {name}", one)}`}>${scoresText(one.report)}</a></p>
      ${one.problem ? html`<p class="error">${icon("alert")}<span>${sentenceView(one.problem)}</span></p>` : nothing}
    </div>
    <div class="row">
      ${one.is_used
        ? html`<button type="button" class="subtle" aria-label=${t("Switch off {name}", one)} @click=${() => switchTo(row, "none")}>${t("Switch off")}</button>`
        : one.problem ? nothing : html`<button type="button" class="subtle" aria-label=${t("Use {name}", one)} @click=${() => switchTo(row, one.name)}>${t("Use")}</button>`}
      <button type="button" class="subtle" aria-label=${t("Remove {title}", { title: one.name })} @click=${() => askToRemove(row, one)}>${t("Remove")}</button>
    </div>
  </li>`;

function scoresText({ new_before: newBefore, new_after: newAfter, old_before: oldBefore, old_after: oldAfter }) {
  const parts = [];
  if (newAfter?.total) parts.push(t("New: {before} \u2192 {after} of {total}", { before: newBefore.right, after: newAfter.right, total: newAfter.total }));
  if (oldAfter?.total) parts.push(t("Old: {before} \u2192 {after} of {total}", { before: oldBefore.right, after: oldAfter.right, total: oldAfter.total }));
  return parts.join(" \u00b7 ") || t("Report card");
}

async function switchTo(row, adapter) {
  const status = await changeModels(() => post(`/admin/models/${row.name}/use`, { adapter }));
  void restoreFocus(cardButton(row));
  if (status) showToast(adapter === "none" ? t("{title} uses no adapter from the next request on.", row) : t("{title} uses {adapter} from the next request on.", { title: row.title, adapter }));
}

async function askToRemove(row, one) {
  const text = t("Its files are deleted. You would have to train it again.");
  if (!(await confirmDialog({ title: t("Remove {title}?", { title: one.name }), text, confirm: t("Remove"), isDangerous: true }))) return;
  const result = await removeModel(one);
  void restoreFocus(cardButton(row));
  if (result) showToast(t("Removed {title}.", { title: one.name }));
}
