// The photos of the draft, each with its role.

import { mediaUrl, request } from "../core/api.js";
import { computed, html, nothing, repeat } from "../core/render.js";
import { icon } from "../core/icons.js";
import { commands } from "../core/store.js";
import { t } from "../core/text.js";
import { labelOfCommand } from "../core/titles.js";
import { command, usedPhotos } from "../create/capabilities.js";
import { changePhoto, fillDraft, mode, photos, removePhoto } from "../create/draft.js";
import { photoNote, uploads } from "../create/photos.js";
import { send } from "../create/request.js";

const ROLES = { init: () => t("Photo"), mask: () => t("Mask"), control: () => t("Control"), reference: () => t("Reference") };
const KINDS = {
  canny: () => t("Edges"), lineart: () => t("Line art"), scribble: () => t("Scribble"), depth: () => t("Depth"), pose: () => t("Pose"),
  tile: () => t("Tile"), style: () => t("Style"), subject: () => t("Subject"),
};

/** @param {string} role */
export const roleLabel = (role) => ROLES[role]?.() ?? role;

/** @param {string} kind */
export const kindLabel = (kind) => KINDS[kind]?.() ?? kind;

/** The kinds that a role has: of controls, or of references. @param {string} role */
export const kindsOf = (role) => command.value?.images.kinds[role] ?? [];

/** Gives a photo another role; a control gets the first kind that no other one has. @param {object} photo @param {string} role */
export function setRole(photo, role) {
  const others = photos.peek().filter((other) => other.key !== photo.key && other.role === role).map((other) => other.kind);
  const kind = role === "control" ? (kindsOf(role).find((one) => !others.includes(one)) ?? "") : "";
  changePhoto(photo, { role, kind });
}

/** Applies the generation settings of a file, and removes the file from the draft. */
function useSettings(photo) {
  const { prompt = "", ...options } = photo.recalled.options;
  fillDraft({ mode: "imagine", prompt, options, photos: photos.peek().filter((other) => other.key !== photo.key) });
  photoNote.value = photo.recalled.notes.join(" ") || t("Settings loaded from the picture.");
}

/** The role of a photo, and its kind. @param {object} photo @param {number} number */
export function roleFields(photo, number) {
  const taken = command.value?.images.roles ?? [];
  const roles = taken.includes(photo.role) ? taken : [...taken, photo.role];
  const kinds = kindsOf(photo.role);
  const selected = (value, current) => value === current;
  return html`
    ${roles.length > 1 ? html`
      <select aria-label=${t("Role of picture {n}", { n: number })} @change=${(event) => setRole(photo, event.target.value)}>
        ${roles.map((role) => html`<option value=${role} .selected=${selected(role, photo.role)}>${roleLabel(role)}</option>`)}
      </select>` : nothing}
    ${kinds.length ? html`
      <select aria-label=${t("Type of picture {n}", { n: number })} @change=${(event) => changePhoto(photo, { kind: event.target.value })}>
        ${photo.role === "reference" ? html`<option value="" .selected=${!photo.kind}>${t("Model default")}</option>` : nothing}
        ${kinds.map((kind) => html`<option value=${kind} .selected=${selected(kind, photo.kind)}>${kindLabel(kind)}</option>`)}
      </select>` : nothing}`;
}

/** A picture that does not exist, or belongs to someone else, leaves the draft. @param {object} photo */
async function removeMissing(photo) {
  const problem = await request(`/media/${photo.id}?w=256`).catch((error) => error);
  if (problem.code !== "not_found") return;
  removePhoto(photo);
  photoNote.value = t("A picture was removed: it was deleted, belongs to someone else, or the link is incomplete.");
}

function photoView(photo, index) {
  const isUsed = usedPhotos.value.includes(photo);
  const number = index + 1;
  return html`
    <li class="attach-photo ${isUsed ? "" : "attach-photo-unused"}">
      <img src=${mediaUrl(photo.id, 256)} alt=${photo.name || t("Picture {n}", { n: number })} width="56" height="56" @error=${() => removeMissing(photo)}>
      <div class="attach-photo-facts">
        ${roleFields(photo, number)}
        ${isUsed && photo.role === "init" && mode.value !== "ask" ? html`<a class="button chip" href=${`/edit/${photo.id}`}>${icon("brush")}${t("Paint a mask")}</a>` : nothing}
        ${isUsed ? nothing : html`<span class="hint">${t("Not used in this mode")}</span>`}
        ${photo.recalled && mode.value === "imagine" ? html`<button type="button" class="chip" @click=${() => useSettings(photo)}>${t("Use its settings")}</button>` : nothing}
      </div>
      <button type="button" class="icon-button" aria-label=${t("Remove picture {n}", { n: number })} @click=${() => removePhoto(photo)}>${icon("close")}</button>
    </li>`;
}

/** Commands that need one picture and nothing else, by what they answer: "images", or texts. */
const photoCommands = computed(() => {
  const isFurther = (one) => one.images.needed === 1 && one.models.length && !one.options.some((option) => option.required) && one.name !== "preview";
  return commands.value.filter((one) => isFurther(one) && (one.answers === "images") === (mode.value === "edit"));
});

/** Buttons of these commands. */
function photoCommandsView() {
  const photo = usedPhotos.value.find((one) => one.role === "init");
  if (mode.value === "imagine" || !photo) return nothing;
  return html`<span class="hint">${t("Or:")}</span>${photoCommands.value.map((one) => html`
    <button type="button" class="chip" title=${one.summary} @click=${() => send({ command: one.name, options: {}, images: [photo.id] })}>${labelOfCommand(one.name)}</button>`)}`;
}

export function photosView() {
  return html`
    <div class="row attach-photo-row"><ul class="attach-photos" aria-label=${t("Photos")}>
      ${repeat(photos.value, (photo) => photo.key, photoView)}
      ${uploads.value.map((one) => html`<li class="attach-photo"><span class="spinner" aria-hidden="true"></span><span class="hint">${t("Uploading {name}…", { name: one.name || t("a photo") })}</span></li>`)}
    </ul>${photoCommandsView()}</div>`;
}
