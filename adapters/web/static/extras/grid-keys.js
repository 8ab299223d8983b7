// The keyboard in the grid of results.

/** The arrow keys move between tiles, which are one stop of the Tab key. @param {KeyboardEvent & {currentTarget: HTMLElement, target: HTMLElement}} event */
export function moveFocus(event) {
  const step = { ArrowRight: 1, ArrowLeft: -1, Home: -Infinity, End: Infinity, ArrowDown: "row", ArrowUp: "-row" }[event.key];
  const tiles = [...event.currentTarget.querySelectorAll("[data-tile]")];
  const at = tiles.indexOf(event.target);
  if (!step || at < 0) return;
  event.preventDefault();
  const next = typeof step === "number" ? Math.min(tiles.length - 1, Math.max(0, at + step)) : findBeside(tiles, at, step === "row" ? 1 : -1);
  tiles[next].focus();
}

/** The tile above or below: the nearest one of the next row. */
function findBeside(tiles, at, direction) {
  const box = tiles[at].getBoundingClientRect();
  const middle = box.left + box.width / 2;
  const distance = (tile) => {
    const other = tile.getBoundingClientRect();
    const rows = Math.abs(other.top - box.top) * 4;
    return (other.top - box.top) * direction > 4 ? rows + Math.abs(other.left + other.width / 2 - middle) : Infinity;
  };
  const best = tiles.map(distance).reduce((found, value, index, all) => (value < all[found] ? index : found), at);
  return distance(tiles[best]) === Infinity ? at : best;
}
