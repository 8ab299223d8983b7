// Autocompletes `<lora:`, `__wildcard__` and `--style` in the prompt. Loaded on first use.

import { get } from "../core/api.js";
import { html, nothing, signal } from "../core/render.js";
import { t, tn } from "../core/text.js";
import { announce } from "../core/toast.js";
import { choose } from "../create/draft.js";
import { completion, setPrompt } from "../create/prompt-field.js";

const MAX_SHOWN = 8;
const LIST_ID = "create-names";
const KINDS = [
  { pattern: /<(?:lora|lyco):([^<>:\n]*)$/i, path: "/loras", list: "loras", facts: (one) => [one.title !== one.name && one.title, ...(one.trigger_words ?? []).slice(0, 3)] },
  { pattern: /__([\w/-]*)$/, path: "/wildcards", list: "wildcards", facts: (one) => one.examples.slice(0, 3) },
  { pattern: /--style\s+([\w-]*)$/i, path: "/styles", list: "styles", facts: (one) => [one.prompt], isStyle: true },
];

const active = signal(0);
let asked = null;

/** Suggests names for the text before the caret. @param {HTMLTextAreaElement} element */
export async function completeNames(element) {
  const before = element.value.slice(0, element.selectionStart);
  const found = KINDS.map((kind) => ({ kind, match: kind.pattern.exec(before) })).find(({ match }) => match);
  asked?.abort();
  if (!found) return void (completion.value = null);
  const { kind, match } = found;
  asked = new AbortController();
  try {
    const answer = await get(`${kind.path}?q=${encodeURIComponent(match[1])}`, { signal: asked.signal });
    if (element.value.slice(0, element.selectionStart) !== before || document.activeElement !== element) return;
    show(kind, answer[kind.list].slice(0, MAX_SHOWN), match, element);
  } catch {
    completion.value = null; // completing is a help: the name can be typed
  }
}

function show(kind, names, match, element) {
  active.value = 0;
  if (!names.length) return void (completion.value = null);
  const choice = { names, take: (name) => insert(kind, name, match, element), facts: kind.facts };
  completion.value = build(choice);
  announce(tn(names.length, "{n} suggestion", "{n} suggestions"));
}

const build = (choice) => ({
  id: LIST_ID,
  activeId: `${LIST_ID}-${active.peek()}`,
  view: () => listView(choice),
  onKey: (event) => handleKey(event, choice),
});

function handleKey(event, choice) {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (step) {
    active.value = (active.peek() + step + choice.names.length) % choice.names.length;
    completion.value = build(choice);
  } else if (event.key === "Enter" || event.key === "Tab") choice.take(choice.names[active.peek()]);
  else if (event.key === "Escape") completion.value = null;
  else return false;
  event.preventDefault();
  return true;
}

function insert(kind, name, match, element) {
  const start = match.index;
  const text = kind.isStyle ? "" : name.insert;
  const rest = element.value.slice(start + match[0].length);
  if (kind.isStyle) choose({ style: name.name });
  completion.value = null;
  element.focus();
  setPrompt(element.value.slice(0, start) + text + rest, start + text.length);
}

const listView = ({ names, take, facts }) => html`
  <ul class="completion" id=${LIST_ID} role="listbox" aria-label=${t("Suggestions")}>
    ${names.map((one, index) => html`
      <li id=${`${LIST_ID}-${index}`} role="option" aria-selected=${index === active.value ? "true" : "false"} @mousedown=${(event) => { event.preventDefault(); take(one); }}>
        <span>${one.name}</span>${factsView(facts(one).filter(Boolean).join(", "))}
      </li>`)}
  </ul>`;

const factsView = (text) => (text ? html`<span class="hint">${text}</span>` : nothing);
