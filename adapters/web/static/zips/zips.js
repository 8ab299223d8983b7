// Zips of pictures, loaded when one is asked for.

import { request } from "../core/api.js";
import { t, tn } from "../core/text.js";
import { showToast } from "../core/toast.js";

const MAX_PICTURES = 1000;

/** Saves a blob as a file. @param {Blob} blob @param {string} name */
function save(blob, name) {
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

/** Downloads a zip of pictures, with a JSON file for each. @param {import("../gallery/actions.js").Picture[]} pictures */
export async function downloadZip(pictures) {
  const chosen = pictures.filter(({ kind }) => kind === "picture");
  if (!chosen.length) return void showToast(t("Answers cannot be downloaded. Select pictures instead."));
  if (chosen.length > MAX_PICTURES) return void showToast(t("A zip can hold {n} pictures. Select fewer.", { n: MAX_PICTURES }), { kind: "error" });
  const toast = showToast(tn(chosen.length, "Preparing the zip…", "Preparing the zip of {n} pictures…"), { timeoutMs: 60_000 });
  try {
    const body = { jobs: [], pictures: chosen.map(({ job, number }) => ({ job, n: number })) };
    const response = await request("/export", { method: "POST", body });
    save(await response.blob(), "easel.zip");
  } catch (error) {
    showToast(error.message, { kind: "error" });
  } finally {
    toast.close();
  }
}
