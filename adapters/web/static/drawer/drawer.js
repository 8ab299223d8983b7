// The options drawer of Create: all options that the model supports, the roles of photos, and the picture picker.

import { get, mediaUrl } from "../core/api.js";
import { openDialog } from "../core/dialog.js";
import { html, live, nothing, signal } from "../core/render.js";
import { errorView, loadingView, stateView } from "../core/states.js";
import { t } from "../core/text.js";
import { command, hasPhoto, supportedOptions } from "../create/capabilities.js";
import { wrongOption } from "../create/composer.js";
import { changePhoto, chosen, mode, photos } from "../create/draft.js";
import { kindsOf, roleFields, setRole } from "../attach/photo-row.js";
import { addPhoto, startWithPhoto } from "../create/photos.js";
import { optionField } from "./fields.js";

/** @type {[() => string, string[]][]} */
const GROUPS = [
  [() => t("Prompt"), ["negative_prompt"]],
  [() => t("Picture"), ["best", "seed", "steps", "guidance_scale", "image_guidance_scale", "sampler", "schedule", "width", "height"]],
  [() => t("From the photo"), ["strength", "region", "keep", "inpaint_area"]],
  [() => t("Refinement"), ["enhance", "hires", "detail", "variation_seed", "variation_strength", "guidance_rescale", "clip_skip", "tiling"]],
];
const ELSEWHERE = ["model", "style", "count", "aspect"];
const PICKED = 60;

/** Opens the drawer; resolves when it is closed. */
export function openOptions() {
  if (wrongOption.peek()) requestAnimationFrame(() => document.getElementById(`option-${wrongOption.peek()}`)?.focus());
  return openDialog({ title: t("More options"), kind: "sheet", view: optionsView });
}

function optionsView(close) {
  const taken = supportedOptions.value;
  const isText = mode.value === "ask";
  const groups = isText ? [] : GROUPS;
  const named = groups.flatMap(([, names]) => names);
  const rest = [...taken.keys()].filter((name) => !named.includes(name) && !ELSEWHERE.includes(name));
  return html`
    ${groups.map(([title, names]) => groupView(title(), names.filter((name) => taken.has(name))))}
    ${groupView(isText ? t("Answer") : t("Other"), rest)}
    ${photoSettings()}
    <div class="row dialog-actions drawer-end">
      <button type="button" class="subtle" @click=${reset}>${t("Reset to defaults")}</button>
      <button type="button" class="primary" @click=${() => close()}>${t("Done")}</button>
    </div>`;
}

const groupView = (title, names) => (names.length ? html`
  <section class="drawer-group"><h3>${title}</h3><div class="drawer-fields">${names.map((name) => optionField(supportedOptions.value.get(name)))}</div></section>` : nothing);

function reset() {
  const { model, style } = chosen.peek()[mode.peek()];
  chosen.value = { ...chosen.peek(), [mode.peek()]: { ...(model && { model }), ...(style && { style }) } };
}

function photoSettings() {
  const roles = (command.value?.images.roles ?? []).filter((role) => role !== "init");
  if (!roles.length) return nothing;
  return html`
    <section class="drawer-group">
      <h3>${t("Control and reference pictures")}</h3>
      <p class="hint">${t("Add a picture in the composer and choose its role. A control sets the lines, depth or pose. A reference sets the style or subject. White areas of a mask are repainted.")}</p>
      ${photos.value.length ? photos.value.map(photoFields) : html`<p class="hint">${t("No pictures added.")}</p>`}
      ${hasPhoto.value || !photos.value.length ? nothing : html`<p class="hint">${t("A mask also needs a photo.")}</p>`}
    </section>`;
}

/** Name, label and largest value. @type {[string, () => string, number][]} */
const SHARES = [["weight", () => t("Weight"), 2], ["start", () => t("Start"), 1], ["end", () => t("End"), 1]];

function photoFields(photo, index) {
  const shares = photo.role === "control" ? SHARES : photo.role === "reference" ? SHARES.slice(0, 1) : [];
  return html`
    <fieldset class="drawer-photo">
      <legend>${t("Picture {n}", { n: index + 1 })}</legend>
      <img src=${mediaUrl(photo.id, 256)} alt="" width="64" height="64">
      <div class="row">${roleFields(photo, index + 1)}</div>
      ${shares.map(([name, label, most]) => html`
        <div class="field">
          <label for=${`photo-${index}-${name}`}>${label()}</label>
          <input id=${`photo-${index}-${name}`} type="number" min="0" max=${most} step="0.05" inputmode="decimal" .value=${live(String(photo[name]))}
            @change=${(event) => changePhoto(photo, { [name]: Math.min(most, Math.max(0, Number(event.target.value) || 0)) })}>
        </div>`)}
      ${photo.role === "control" ? html`
        <label class="row drawer-check"><input type="checkbox" .checked=${live(photo.ready)} @change=${(event) => changePhoto(photo, { ready: event.target.checked })}>${t("Already a control map")}</label>` : nothing}
    </fieldset>`;
}

/** Opens a picker for one's own pictures and their role. */
export async function pickPictures() {
  const shown = signal(null);
  const role = signal("init");
  const load = async () => {
    shown.value = null;
    try {
      const { jobs } = await get(`/jobs?limit=${PICKED}`);
      shown.value = jobs.flatMap((job) => (job.result?.media ?? []).filter((media) => media && !media.spoiler).map((media) => ({ id: media.id, title: media.alt || job.options.prompt || "" })));
    } catch (error) {
      shown.value = error;
    }
  };
  void load();
  const picked = await openDialog({ title: t("Your pictures"), kind: "wide", view: (close) => pickerView(shown.value, role, load, close) });
  if (!picked) return;
  if (role.peek() === "init") return void startWithPhoto(picked.id, picked.title);
  addPhoto(picked.id, { name: picked.title, role: role.peek() });
  const added = photos.peek().find((photo) => photo.id === picked.id && photo.role === role.peek());
  if (added && kindsOf(added.role).length) setRole(added, role.peek());
}

const ROLES = { init: () => t("Photo"), mask: () => t("Mask"), control: () => t("Control"), reference: () => t("Reference") };

function pickerView(shown, role, load, close) {
  if (shown === null) return loadingView();
  if (shown instanceof Error) return errorView(shown, load);
  if (!shown.length) return stateView({ title: t("No pictures yet"), text: t("Pictures you create appear here.") });
  const roles = command.value?.images.roles ?? [];
  return html`
    ${roles.length > 1 ? html`
      <fieldset class="segments"><legend>${t("Use as")}</legend>
        ${roles.map((one) => html`<label><input type="radio" name="picked-role" .checked=${role.value === one} @change=${() => (role.value = one)}><span>${ROLES[one]?.() ?? one}</span></label>`)}
      </fieldset>` : nothing}
    <ul class="drawer-pictures">
      ${shown.map((one) => html`<li><button type="button" @click=${() => close(one)}><img src=${mediaUrl(one.id, 256)} alt=${one.title || t("Picture")} loading="lazy" width="160" height="160"></button></li>`)}
    </ul>`;
}
