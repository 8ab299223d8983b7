// DOM helpers. Text is always inserted as text; nothing here parses HTML.

export const byId = (id) => document.getElementById(id);

/** Creates an element: `h("p", { class: "error", hidden: true }, "text", child)`; functions become event listeners. */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, String(value));
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Shows `text` in an element, or hides the element if it is empty. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
  element.hidden = !text;
}

let lastAnnounced = "";

/** Announces `text` to screen readers; a repeated text gets a trailing space so that it is read again. */
export function announce(text) {
  const status = byId("status");
  status.textContent = text === lastAnnounced ? `${text}\u00a0` : text;
  lastAnnounced = status.textContent;
}

export function formatSeconds(value) {
  if (value === null || value === undefined) return "";
  if (value < 1) return "under a second";
  if (value < 90) return `about ${Math.round(value)} s`;
  return value < 5400 ? `about ${Math.round(value / 60)} min` : `about ${Math.round(value / 3600)} h`;
}

const DATE_AND_TIME = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
const TIME = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });

/** The time of day, with the date if it is not today. */
export function formatTime(iso) {
  const date = new Date(iso);
  return (date.toDateString() === new Date().toDateString() ? TIME : DATE_AND_TIME).format(date);
}
