// Arrow keys, Home and End go from button to button of a container. Tab stops at one of them, and goes on behind it.
const plain = (event) => !(event.altKey || event.ctrlKey || event.metaKey || event.shiftKey);

// The nearest button above or below: of the nearest row the one that is least to the side.
function across(all, here, down) {
  const from = here.getBoundingClientRect();
  const off = (box) => 1e4 * Math.abs(box.top - from.top) + Math.abs(box.left - from.left);
  const boxes = all.map((button) => [button, button.getBoundingClientRect()])
    .filter(([, box]) => (down ? box.top > from.bottom - 1 : box.bottom < from.top + 1));
  return boxes.reduce((best, one) => (!best || off(one[1]) < off(best[1]) ? one : best), null)?.[0];
}

function neighbour(container, here, key) {
  const all = [...container.querySelectorAll("button")];
  const place = all.indexOf(here);
  const ways = {
    ArrowLeft: () => all[place - 1], ArrowRight: () => all[place + 1], Home: () => all[0], End: () => all.at(-1),
    ArrowUp: () => across(all, here, false), ArrowDown: () => across(all, here, true),
  };
  return ways[key]?.();
}

function stopAt(container, button) {
  container.querySelectorAll("button[tabindex='0']").forEach((other) => { other.tabIndex = -1; });
  if (button) button.tabIndex = 0;
}

// `more` is called before every move, to make the buttons after the last one.
function roam(container, more = () => {}) {
  container.addEventListener("focusin", (event) => stopAt(container, event.target.closest("button")));
  container.addEventListener("keydown", (event) => {
    const here = event.target.closest("button");
    if (!here || !plain(event)) return;
    more(here);
    const next = neighbour(container, here, event.key);
    if (!next) return;
    event.preventDefault();
    next.focus();
  });
}
