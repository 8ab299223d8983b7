// The page's sentences. English is the source; `make locales` collects every sentence given to `t` and `tn`.

let catalogue = new Map();

/** @param {Record<string, string | string[]>} sentences translations by their English sentence */
export function setCatalogue(sentences) {
  catalogue = new Map(Object.entries(sentences));
}

const fill = (sentence, values) => sentence.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? String(values[name]) : whole));

/**
 * A translated sentence: `t("{count} of {total} pictures", { count, total })`. The sentence is one literal, never put
 * together from parts, so that it can be collected and its words reordered.
 * @param {string} sentence
 * @param {Record<string, unknown>} [values]
 */
export function t(sentence, values = {}) {
  const translated = catalogue.get(sentence);
  return fill(typeof translated === "string" && translated ? translated : sentence, values);
}

/**
 * The sentence for a number: `tn(n, "{n} picture", "{n} pictures")`; `{n}` is the number.
 * @param {number} n
 * @param {string} one
 * @param {string} many
 * @param {Record<string, unknown>} [values]
 */
export function tn(n, one, many, values = {}) {
  const forms = catalogue.get(one);
  const rule = new Intl.PluralRules(document.documentElement.lang || "en").select(n);
  const translated = Array.isArray(forms) ? (rule === "one" ? forms[0] : forms[forms.length - 1]) : "";
  return fill(translated || (n === 1 ? one : many), { n: formatNumber(n), ...values });
}

export const formatNumber = (value) => new Intl.NumberFormat().format(value);

/** @param {number | null | undefined} seconds */
export function formatSeconds(seconds) {
  if (seconds === null || seconds === undefined) return "";
  if (seconds < 1) return t("under a second");
  if (seconds < 90) return t("about {n} s", { n: Math.round(seconds) });
  return seconds < 5400 ? t("about {n} min", { n: Math.round(seconds / 60) }) : t("about {n} h", { n: Math.round(seconds / 3600) });
}

/** @param {number} bytes */
export function formatBytes(bytes) {
  if (bytes >= 2 ** 30) return `${(bytes / 2 ** 30).toFixed(1)} GiB`;
  return bytes >= 2 ** 20 ? `${Math.round(bytes / 2 ** 20)} MiB` : `${Math.round(bytes / 2 ** 10)} KiB`;
}

const DATE_AND_TIME = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
const TIME = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });

/** The time of day, with the date if it is not today. @param {string} iso */
export function formatTime(iso) {
  const date = new Date(iso);
  return (date.toDateString() === new Date().toDateString() ? TIME : DATE_AND_TIME).format(date);
}
