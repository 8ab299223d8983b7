// Installing a model and making it the default: its terms, then the installation in the background.

import { get, post } from "../core/api.js";
import { openDialog } from "../core/dialog.js";
import { restoreFocus } from "../core/focus.js";
import { icon } from "../core/icons.js";
import { html, nothing, signal } from "../core/render.js";
import { sentenceView } from "../core/sentence.js";
import { errorView, loadingView } from "../core/states.js";
import { formatBytes, formatSeconds, t } from "../core/text.js";
import { announce, showToast } from "../core/toast.js";
import { describeAbilities } from "./abilities.js";
import { followInstall, isInstalled } from "./catalogue.js";
import { formatsView } from "./formats.js";

/** Where a model would run, as `{kind, text}`: kind is "good", "slow" or "bad". */
export function fitOf(fits) {
  if (!fits) return null;
  const seconds = fits.seconds ? formatSeconds(fits.seconds) : "";
  const texts = {
    resident: ["good", seconds ? t("Fits, {seconds} each", { seconds }) : t("Fits")],
    offload: ["slow", seconds ? t("Fits with offloading, {seconds} each", { seconds }) : t("Fits with offloading")],
    cpu: ["slow", seconds ? t("On the CPU, {seconds} each", { seconds }) : t("On the CPU")],
  };
  const [kind, text] = texts[fits.place] ?? ["bad", t("Does not fit: needs {missing}", { missing: fits.missing })];
  return { kind, text };
}

/** @param {{stage: string, done: number, total: number, rate: number, eta_s: number | null}} progress */
export function installText({ stage, done, total, rate, eta_s: left }) {
  const sentences = { checking: t("Verifying"), loading: t("Loading"), trying: total ? t("Testing, {done} of {total}", { done, total }) : t("Testing"), exporting: t("Exporting"), compiling: t("Compiling") };
  if (stage !== "downloading" || !total) return sentences[stage] ?? t("Preparing");
  const parts = [t("Downloading, {percent} % of {size}", { percent: Math.floor((100 * done) / total), size: formatBytes(total) })];
  if (rate) parts.push(t("{size}/s", { size: formatBytes(rate) }));
  return [...parts, formatSeconds(left)].filter(Boolean).join(", ");
}

/** @param {{name: string}} row */
export const cardButton = ({ name }) => `[data-model="${CSS.escape(name)}"] button`;

/** Shows the terms if needed, then installs the model or makes it the default. @param {object} row */
export async function useModel(row) {
  const state = signal({ terms: null, error: null, isSending: false });
  const formats = signal({ weights: row.weights, precision: row.precision });
  const work = { row, state, formats, close: () => {} };
  const dialog = openDialog({
    title: isInstalled(row) ? t("Make {title} the default", { title: row.title }) : t("Install {title}", { title: row.title }),
    view(close) {
      work.close = close;
      return termsView(work);
    },
  });
  void loadTerms(work);
  if (!(await dialog)) return;
  announce(t("Installing {title}", { title: row.title }));
  await followInstall(row);
  await restoreFocus(cardButton(row));
}

async function loadTerms(work) {
  work.state.value = { terms: null, error: null, isSending: false };
  try {
    const terms = await get(`/admin/models/${work.row.name}/terms`);
    work.state.value = { terms, error: null, isSending: false };
    if (!isQuestion(terms)) await install(work);
  } catch (error) {
    work.state.value = { terms: null, error, isSending: false };
  }
}

const isQuestion = (terms) => terms.must_accept || terms.missing_bytes > 0 || terms.fits.place === "no";

function termsView(work) {
  const { terms, error, isSending } = work.state.value;
  if (error) return errorView(error, () => loadTerms(work));
  if (!terms || !isQuestion(terms)) return loadingView(t("Fetching model details…"));
  const fit = fitOf(terms.fits);
  return html`
    <p>${describeAbilities(terms)}</p>
    <ul class="models-terms">
      ${terms.missing_bytes ? html`<li>${icon("download")}${t("{size} to download, {free} free on disk.", { size: formatBytes(terms.missing_bytes), free: formatBytes(terms.free_bytes) })}</li>` : nothing}
      ${fit ? html`<li class=${`models-fit-${fit.kind}`}>${icon(fit.kind === "bad" ? "alert" : "check")}${fit.text}</li>` : nothing}
      ${[...terms.fits.notes, ...terms.together].map((note) => html`<li>${icon("minus")}<span>${sentenceView(note)}</span></li>`)}
      <li>${icon("key")}<span>${t("Licence: {names}", { names: terms.licences.join("; ") || t("unknown") })}
        ${terms.licence_url ? html`<a href=${terms.licence_url} target="_blank" rel="noreferrer">${t("Read the licence")}</a>` : nothing}</span></li>
      <li>${icon(terms.commercial ? "check" : "alert")}${terms.commercial ? t("Commercial use is allowed.") : t("Not for commercial use.")}</li>
      ${terms.gated ? html`<li>${icon("alert")}${t("Gated model: request access from its authors, then set your Hub token on the server.")}</li>` : nothing}
    </ul>
    <details>
      <summary>${t("Number format")}</summary>
      ${formatsView(work.formats.value, (values) => (work.formats.value = { ...work.formats.peek(), ...values }))}
    </details>
    <div class="row dialog-actions">
      <button type="button" @click=${() => work.close()}>${t("Not now")}</button>
      <button type="button" class="primary" autofocus ?disabled=${isSending} @click=${() => install(work)}>${acceptText(terms)}</button>
    </div>`;
}

function acceptText(terms) {
  if (terms.must_accept) return t("Accept and install");
  return terms.fits.place === "no" ? t("Install anyway") : t("Install");
}

async function install(work) {
  const { terms } = work.state.peek();
  work.state.value = { terms, error: null, isSending: true };
  try {
    await post(`/admin/models/${terms.name}/use`, { accept_licence: true, force: terms.fits.place === "no", ...work.formats.peek() });
    work.close(true);
    if (!isQuestion(terms)) showToast(t("Preparing {title}…", { title: terms.title }));
  } catch (error) {
    work.state.value = { terms: null, error, isSending: false };
  }
}
