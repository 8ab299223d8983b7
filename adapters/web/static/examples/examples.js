// Six prompts with their pictures, for an empty page: one click makes the first picture.

import { html, signal } from "../core/render.js";
import { t } from "../core/text.js";
import { fillDraft } from "../create/draft.js";
import { sendDraft } from "../create/request.js";

const EXAMPLES = [
  ["rocket", "a rocket on a purple background"], ["cat", "a cat on a blue background"], ["tiger", "a tiger on a green background"],
  ["sailboat", "a sailboat on a cyan background"], ["owl", "an owl on a brown background"], ["house", "a house on a pink background"],
];
const started = signal("");

async function tryOut(name, prompt) {
  if (started.peek()) return;
  started.value = name;
  fillDraft({ mode: "imagine", prompt, options: {}, photos: [] });
  try {
    await sendDraft();
  } finally {
    started.value = "";
  }
}

export const examplesView = () => html`
  <div class="examples">
    <p class="examples-title">${t("Click an example to create your first picture, or type your own prompt.")}</p>
    <ul>
      ${EXAMPLES.map(([name, prompt]) => html`
        <li><button type="button" class="examples-item" aria-disabled=${started.value ? "true" : "false"} @click=${() => tryOut(name, prompt)}>
          <img src=${`${document.documentElement.dataset.static}example-${name}.webp`} alt="" width="256" height="256">
          <span>${prompt}</span>
        </button></li>`)}
    </ul>
  </div>`;
