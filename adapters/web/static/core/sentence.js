// Sentences from the server, with commands in backticks.

import { html } from "./render.js";

/** A sentence with its commands in the type of code. @param {string} text */
export const sentenceView = (text) => text.split("`").map((part, index) => (index % 2 ? html`<code>${part}</code>` : part));

/** The same for screen readers and the clipboard. @param {string} text */
export const plainSentence = (text) => text.replaceAll("`", "");
