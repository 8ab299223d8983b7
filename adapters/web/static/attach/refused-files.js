// What is said about files that were not taken: how many, which, and why.

import { t, tn } from "../core/text.js";

const MAX_NAMED = 3;
const [MAX_NAME, NAME_START, NAME_END] = [40, 24, 15];

/** The end tells files apart, such as "photo-of-the-sea…-12.png". */
const shorten = (name) => (name.length > MAX_NAME ? `${name.slice(0, NAME_START).trimEnd()}…${name.slice(-NAME_END)}` : name);

function namesText(names) {
  const named = names.slice(0, MAX_NAMED).map(shorten).join(", ");
  const rest = names.length - MAX_NAMED;
  return rest > 0 ? tn(rest, "{named} and {n} more", "{named} and {n} more", { named }) : named;
}

/**
 * One text about all of them, the reasons after the names that they are about.
 * @param {{name: string, reason: string}[]} refused @param {number} given how many files there were @param {number} left how many were not tried
 */
export function refusedText(refused, given, left) {
  if (given === 1) return refused[0].reason;
  const byReason = Map.groupBy(refused, ({ reason }) => reason);
  return [
    tn(refused.length, "{n} of {given} files was not added.", "{n} of {given} files were not added.", { given }),
    ...[...byReason].map(([reason, files]) => t("{names}: {reason}", { names: namesText(files.map(({ name }) => name)), reason })),
    left ? tn(left, "{n} more was not added: the limit is reached.", "{n} more were not added: the limit is reached.") : "",
  ].filter(Boolean).join(" ");
}
