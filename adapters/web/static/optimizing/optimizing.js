// Compiling a model for the server's processor: what was measured, switching to it, and going back.

import { post } from "../core/api.js";
import { openDialog } from "../core/dialog.js";
import { html, nothing, signal } from "../core/render.js";
import { sentenceView } from "../core/sentence.js";
import { formatBytes, t, tn } from "../core/text.js";
import { showToast } from "../core/toast.js";

const MIB = 2 ** 20;
const TITLES = { openvino: "OpenVINO", onnx: "ONNX Runtime" };
/** @param {string} backend */
const titleOf = (backend) => TITLES[backend] ?? backend;

/**
 * Opens the dialog. `follow` shows the progress of what was started on the model's card.
 * @param {{name: string, title: string, backend: string, optimization: object | null, execution: object | null}} row
 * @param {(row: object) => Promise<void>} follow
 */
export async function openOptimizing(row, follow) {
  const isLost = row.backend !== "torch" && !runsOn(row, row.backend); // a report of a build that is not used is of no use
  const state = signal({ built: isLost ? null : row.optimization, backend: row.backend, precision: "", error: "", isSending: false });
  const done = await openDialog({ title: t("Speed up {title}", { title: row.title }), view: (close) => optimizingView({ row, state, close }) });
  if (done === null) return;
  await follow(row);
  if (done) showToast(done);
}

function optimizingView(work) {
  const { built, error } = work.state.value;
  const { execution } = work.row;
  return html`
    ${error ? html`<p class="error" role="alert">${sentenceView(error)}</p>` : nothing}
    ${execution ? html`<p>${execution.sentence} ${sentenceView(execution.problem)}</p>` : nothing}
    ${built?.report ? reportView(built) : introView(work)}
    <div class="row dialog-actions">${actionsView(work)}</div>`;
}

const introView = (work) => html`
  <p>${t("Compiles the model for the server's processor and tries it against the plain model. That takes minutes and disk space for another copy of it. Jobs go on meanwhile, and nothing changes before you agree.")}</p>
  <label class="field">${t("Number format")}
    <select .value=${work.state.value.precision} @change=${(event) => set(work, { precision: event.target.value })}>
      <option value="">${t("As the model: keeps its pictures")}</option>
      <option value="bfloat16">${t("bfloat16: faster where the processor has it, slightly different pictures")}</option>
    </select>
  </label>`;

function reportView({ backend, report }) {
  return html`
    <table>
      <thead><tr><th scope="col">${t("Pictures at a time")}</th><th scope="col">torch</th><th scope="col">${titleOf(backend)}</th><th scope="col">${t("Speed")}</th></tr></thead>
      <tbody>${report.speeds.map((speed) => html`<tr><th scope="row" class="number">${speed.rows}</th><td class="number">${seconds(speed.torch_s)}</td><td class="number">${seconds(speed.backend_s)}</td><td class="number">${times(speed.gain)}</td></tr>`)}</tbody>
    </table>
    <p>${tn(report.levels, "Pictures differ by at most one of 256 levels.", "Pictures differ by at most {n} of 256 levels.")}
      ${t("Memory: {torch} on torch, {size} on {backend}; {disk} on disk.", { torch: formatBytes(report.torch_mb * MIB), size: formatBytes(report.backend_mb * MIB), backend: titleOf(backend), disk: formatBytes(report.disk_mb * MIB) })}</p>
    ${report.is_better ? nothing : html`<p>${t("It is not better on this machine, so the model stays on torch.")}</p>`}`;
}

const seconds = (value) => t("{n} s", { n: value.toFixed(3) });
const times = (value) => t("{n} times", { n: value.toFixed(1) });

function actionsView(work) {
  const { built, backend, isSending } = work.state.value;
  const close = html`<button type="button" @click=${() => work.close()}>${t("Close")}</button>`;
  const back = backend === "torch" ? nothing : html`<button type="button" ?disabled=${isSending} @click=${() => goBack(work)}>${t("Back to torch")}</button>`;
  if (runsOn(work.row, backend)) return [back, close];
  if (!built?.report) return [back, close, html`<button type="button" class="primary" ?disabled=${isSending} @click=${() => start(work)}>${t("Compile and try")}</button>`];
  if (!built.report.is_better || built.is_applied) return [back, close];
  return [back, close, html`<button type="button" class="primary" ?disabled=${isSending} @click=${() => switchTo(work)}>${t("Run it on {backend}", { backend: titleOf(built.backend) })}</button>`];
}

/** Whether a backend other than torch computes its steps now, as is configured. */
const runsOn = ({ execution }, backend) => backend !== "torch" && execution?.backend === backend;

const set = (work, values) => (work.state.value = { ...work.state.peek(), ...values });

async function send(work, body) {
  set(work, { error: "", isSending: true });
  try {
    return await post(`/admin/models/${work.row.name}/optimize`, body);
  } catch (problem) {
    set(work, { error: problem.message });
    return null;
  } finally {
    set(work, { isSending: false });
  }
}

async function start(work) {
  const { precision, backend } = work.state.peek();
  const status = await send(work, { precision, ...(backend === "torch" ? {} : { backend }) });
  if (!status) return;
  if (status.is_over) set(work, { built: status.optimization, error: status.error });
  else work.close("");
}

async function switchTo(work) {
  const { backend, precision, weights } = work.state.peek().built;
  const status = await send(work, { backend, precision, weights, switch: true });
  if (!status) return;
  if (!status.is_over) work.close(""); // the build is gone, and is made again
  else if (status.optimization.is_applied) work.close(t("{title} runs on {backend}.", { title: work.row.title, backend: titleOf(backend) }));
  else set(work, { built: status.optimization, error: status.error });
}

async function goBack(work) {
  if (!(await send(work, { backend: "torch" }))) return;
  work.close(t("{title} runs on torch.", { title: work.row.title }));
}
