// Create and gallery in one view.

import { html, render } from "../core/render.js";
import { start } from "./app.js";

const root = document.createElement("div");
root.className = "legacy";
let hasStarted = false;

export function load() {
  if (hasStarted) return;
  hasStarted = true;
  render(markup(), root);
  requestAnimationFrame(() => setTimeout(start));
}

export const view = () => root;

export const focus = () => document.getElementById("prompt").focus();

const markup = () => html`
    <div class="row legacy-header">
      <div class="quota" id="quota" hidden>
        <span id="quota-text"></span>
        <meter id="quota-meter" min="0" max="1" value="0" aria-label="Share of today's quota used" hidden></meter>
      </div>
      <span class="spacer"></span>
      <button type="button" class="plain" id="open-models" hidden>Models</button>
    </div>
    <section class="composer" aria-labelledby="composer-title">
      <h1 id="composer-title" tabindex="-1">What would you like to see?</h1>
      <form id="composer" novalidate>
        <div class="prompt-box" id="prompt-box">
          <div class="input-image" id="input-image" hidden>
            <img id="input-image-preview" alt="">
            <div>
              <p id="input-image-note"></p>
              <div class="row">
                <button type="button" class="subtle" id="use-settings" hidden>Use its settings</button>
                <button type="button" class="subtle" id="remove-input-image">Remove the picture</button>
              </div>
            </div>
          </div>
          <label class="visually-hidden" for="prompt">Prompt, or a question about the picture</label>
          <textarea id="prompt" rows="2" autofocus autocomplete="off" aria-describedby="prompt-keys composer-error"
            placeholder="a red circle on a blue background"></textarea>
          <div class="row toolbar">
            <button type="button" class="subtle" id="choose-image">Add a picture</button>
            <input type="file" id="image-file" class="visually-hidden" tabindex="-1" aria-label="Picture"
              accept="image/png,image/jpeg,image/webp,image/avif,image/heic,image/heif,image/gif">
            <span class="hint" id="prompt-keys">Enter to send, Shift+Enter for a new line</span>
            <span class="spacer"></span>
            <button type="button" id="caption-image" hidden>Caption it</button>
            <button type="button" id="ask-image" hidden>Ask about it</button>
            <button type="submit" class="primary" id="imagine">Imagine</button>
          </div>
        </div>
        <p class="hint" id="settings-notes" role="status" hidden></p>
        <p class="error" id="composer-error" role="alert" hidden></p>
        <div class="confirm" id="confirm" role="group" aria-labelledby="confirm-text" hidden>
          <p id="confirm-text"></p>
          <button type="button" class="primary" id="confirm-yes">Generate all</button>
          <button type="button" id="confirm-no">Not now</button>
        </div>
        <details class="options" id="options">
          <summary>Options<span class="hint" id="options-chosen"></span></summary>
          <div class="fields" id="fields"></div>
        </details>
      </form>
      <button type="button" class="subtle demo-hint" id="demo-hint" hidden>This is a small demo model: install a real one</button>
    </section>

    <section class="gallery" aria-labelledby="gallery-title">
      <div class="row gallery-header">
        <h2 id="gallery-title">Your pictures and answers</h2>
        <span class="spacer"></span>
        <form id="search" role="search">
          <label class="visually-hidden" for="search-words">Search prompts, captions and answers</label>
          <input type="search" id="search-words" placeholder="Search" maxlength="200" autocomplete="off">
        </form>
      </div>
      <p class="error" id="gallery-error" role="alert" hidden></p>
      <p class="empty-state" id="empty-state" hidden></p>
      <div class="cards" id="cards" aria-busy="true"></div>
      <button type="button" id="show-older" hidden>Show older</button>
    </section>
    <p class="visually-hidden" id="status" role="status" aria-live="polite"></p>
    <p class="drop-overlay" id="drop-overlay" aria-hidden="true" hidden>Drop a picture anywhere</p>
  <dialog id="models-dialog" class="wide" aria-labelledby="models-title">
    <div class="row">
      <h2 id="models-title">Models</h2>
      <span class="spacer"></span>
      <button type="button" class="subtle" id="unload-models">Unload idle</button>
      <button type="button" class="subtle" id="models-close">Close</button>
    </div>
    <p class="error" id="models-error" role="alert" hidden></p>
    <p class="hint" id="models-status" role="status" hidden></p>
    <h3>Installed</h3>
    <ul class="models" id="installed-models"></ul>
    <h3 id="prompt-addons-title" hidden>LoRAs and textual inversions</h3>
    <ul class="models" id="prompt-addons"></ul>
    <h3>Available</h3>
    <ul class="models" id="available-models"></ul>
    <form id="add-model">
      <label for="add-source">Add a model: org/name, a link to Civitai, or a folder or .safetensors file on the server</label>
      <div class="row">
        <input id="add-source" autocomplete="off" spellcheck="false">
        <button>Add</button>
      </div>
    </form>
  </dialog>
`;
