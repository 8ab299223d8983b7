// Notes on a result. On the page, hints at the command line become links to Models.

import { html, nothing } from "../core/render.js";
import { plainSentence, sentenceView } from "../core/sentence.js";
import { isAdmin } from "../core/store.js";
import { t } from "../core/text.js";

const SETUP = "`easel setup`";

/** Without sentences about `easel setup`. @param {string} note */
const withoutSetup = (note) => note.split(/(?<=[.!?。]) */).filter((sentence) => !sentence.includes(SETUP)).join(" ");

/** The notes as plain text. @param {string[]} notes */
export const notesText = (notes) => plainSentence(notes.map(withoutSetup).join(" "));

/** The notes, with commands in the type of code, and for admins of a demo model a link. @param {string[]} notes */
export const notesView = (notes) => html`
  ${sentenceView(notes.map(withoutSetup).join(" "))}
  ${isAdmin.value && notes.some((note) => note.includes(SETUP)) ? html`<a href="/models">${t("Choose a real model")}</a>` : nothing}`;
