// The report card of an adapter: scores, examples before and after, sample pictures, and the losses of its training.

import { html, nothing, svg } from "../core/render.js";
import { t } from "../core/text.js";

const [WIDTH, HEIGHT] = [600, 120];

/** @param {{name: string, kind: string, report: object}} adapter */
export const reportView = ({ name, kind, report }) => html`
  <div class="admin-scores">
    ${meterView(t("New"), report.new_before, report.new_after)}
    ${meterView(t("Old"), report.old_before, report.old_after)}
  </div>
  ${report.match_after === null ? nothing : html`<p class="hint">${t("Match of its samples with their prompts: {before} before, {after} after.", { before: report.match_before.toFixed(2), after: report.match_after.toFixed(2) })}</p>`}
  ${kind === "image" && report.samples?.length ? samplesView(name, report.samples) : nothing}
  ${report.examples?.length || report.losses?.length ? html`
    <details>
      <summary>${t("Report card")}</summary>
      ${report.examples?.length ? examplesView(report.examples) : nothing}
      ${report.losses?.length > 1 ? lossView(name, report.losses) : nothing}
    </details>` : nothing}`;

const meterView = (label, before, after) => html`
  <div class="admin-usage">
    <p class="number">${t("{label}: {before} of {total} before, {after} of {total} after", { label, before: before.right, after: after.right, total: after.total })}</p>
    <meter min="0" max="1" .value=${after.total ? after.right / after.total : 0} aria-label=${t("{label} answers that are right", { label })}></meter>
  </div>`;

const examplesView = (examples) => html`
  <div class="admin-examples" tabindex="0" role="region" aria-label=${t("Questions of the test")}>
    <table>
      <thead><tr><th scope="col">${t("Picture")}</th><th scope="col">${t("Question")}</th><th scope="col">${t("Expected")}</th><th scope="col">${t("Before")}</th><th scope="col">${t("After")}</th></tr></thead>
      <tbody>${examples.map((one) => html`<tr><td>${one.file}</td><td>${one.question || t("caption")}</td><td>${one.expected}</td><td>${one.before}</td><td>${one.after}</td></tr>`)}</tbody>
    </table>
  </div>`;

const samplesView = (name, samples) => html`
  <ul class="admin-samples" aria-label=${t("Samples without and with it")}>
    ${samples.map((_path, index) => html`<li><img src=${`/api/v1/admin/trainings/${encodeURIComponent(name)}/samples/${index + 1}`} width="128" height="128" loading="lazy" alt=${index % 2 ? t("With the adapter") : t("Without the adapter")}></li>`)}
  </ul>`;

/** @param {string} name @param {[number, number][]} losses steps and smoothed losses */
export function lossView(name, losses) {
  const most = Math.max(...losses.map(([, loss]) => loss)) || 1;
  const [first, last] = [losses[0][0], losses.at(-1)[0]];
  const path = losses.map(([step, loss], index) => `${index ? "L" : "M"}${((step - first) / Math.max(1, last - first) * WIDTH).toFixed(1)} ${(HEIGHT - (loss / most) * (HEIGHT - 4)).toFixed(1)}`).join("");
  const label = t("Loss of {name}: {from} at step {first}, {to} at step {last}", { name, from: losses[0][1].toFixed(3), to: losses.at(-1)[1].toFixed(3), first, last });
  return html`
    <figure class="admin-loss">
      <svg viewBox=${`0 0 ${WIDTH} ${HEIGHT}`} role="img" aria-label=${label} preserveAspectRatio="none">${svg`<path class="admin-line admin-line-0" vector-effect="non-scaling-stroke" d=${path}></path>`}</svg>
      <figcaption class="hint">${label}</figcaption>
    </figure>`;
}
