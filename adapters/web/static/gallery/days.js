// Names of days: today, yesterday, a date.

import { t } from "../core/text.js";

const DAY_MS = 86_400_000;
const THIS_YEAR = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long" });
const ANY_YEAR = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "long", year: "numeric" });

/** @param {string} day of `Date.prototype.toDateString` */
export function formatDay(day) {
  const now = new Date();
  if (day === now.toDateString()) return t("Today");
  if (day === new Date(now.getTime() - DAY_MS).toDateString()) return t("Yesterday");
  const date = new Date(day);
  return (date.getFullYear() === now.getFullYear() ? THIS_YEAR : ANY_YEAR).format(date);
}
