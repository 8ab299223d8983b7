// Opens Create from a job or a picture, from anywhere on the page.

import { navigate } from "../core/router.js";

/**
 * Opens Create with a job's recipe, or with a picture as the photo.
 * @param {{job?: string, picture?: number | string, how?: "words" | "all" | "all_but_seed", mode?: "" | "imagine" | "edit" | "ask"}} from
 *   with `job`, `picture` is the number of one of its pictures; without, the id of a stored picture
 */
export function startFrom({ job = "", picture = "", how = "all", mode: wanted = "" }) {
  const query = job ? { reuse: job, how, ...(picture && { picture: String(picture) }) } : { image: String(picture), ...(wanted && { mode: wanted }) };
  return navigate(`/?${new URLSearchParams(query)}`);
}
