// One image: its pictures and numbers, all methods' pictures on the same start, and its curves.
const detail = byId("detail");
let current = -1; // place in what the gallery shows; -1: reached by its address alone
let displayed; // the image that is open, or that a person has just closed; not one that the address has closed

function floats(text) {
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  return new Float32Array(bytes.buffer);
}

// [{title, points, dots}]: the climbed reward at every step, each score where there is one.
function curvesOf(item) {
  const { reward, scored, scores } = block(`curves-${item.run.place}`)[item.index];
  const values = floats(scores);
  const series = [{ title: "climbed reward", points: Array.from(floats(reward), (value, step) => [step, value]) }];
  const official = (name, index) => values[item.run.columns.indexOf(name) * scored.length + index];
  for (const [place, score] of comparisonOf(item).scores.entries()) {
    const parts = place === 0 && item.run.mix ? Object.entries(item.run.mix) : [[score, 1]]; // a mix: the weighted sum
    const points = item.run.columns.includes(parts[0][0])
      ? scored.map((step, index) => [step, parts.reduce((sum, [name, weight]) => sum + weight * official(name, index), 0)])
      : [[0, scoreOf(item, "start", score)], [item.run.steps, scoreOf(item, "kept", score)]]; // given afterwards
    series.push({ title: score, points, dots: true });
  }
  return series;
}

function strip(item) {
  const kinds = ["start", ...Object.keys(item.run.pictures).filter((kind) => !["start", "kept"].includes(kind)), "kept"];
  const figures = kinds.filter((kind) => pictureOf(item, kind) >= 0).map((kind) =>
    make("figure", { className: kind === "steps" ? "wide" : "" }, picture(item, kind), make("figcaption", {}, kind)));
  const none = "No picture of this image is on this disk: gradproj replay makes it again from its record (below).";
  return make("div", { className: "strip" }, ...(figures.length ? figures : [make("p", { className: "note" }, none)]));
}

function others(item) {
  const same = items.filter((other) => other.run.comparison === item.run.comparison && other.name === item.name);
  const buttons = same.map((other) => {
    const button = make("button", { type: "button" }, picture(other, "kept"), make("span", {}, other.run.method));
    if (other === item) button.setAttribute("aria-current", "true");
    button.addEventListener("click", () => openItem(other));
    return button;
  });
  return make("div", { className: "others" }, ...buttons);
}

function scoreTable(item) {
  const { scores, target } = comparisonOf(item);
  const line = (tag, cells) => make("tr", {}, ...cells.map((cell) => make(tag, {}, cell)));
  const rows = scores.map((score) => {
    const [from, to] = [scoreOf(item, "start", score), scoreOf(item, "kept", score)];
    const name = score === target ? `${score} (target)` : score;
    return line("td", [name, digits(from), digits(to), digits(from === null || to === null ? null : to - from, true)]);
  });
  const head = make("thead", {}, line("th", ["score", "start", "kept", "gain"]));
  return make("div", { className: "scroll" }, make("table", {}, head, make("tbody", {}, ...rows)));
}

// Every scored step's numbers, made when first opened.
function allNumbers(series) {
  const part = make("details", {}, make("summary", {}, "The numbers of the scored steps"));
  part.addEventListener("toggle", () => {
    const scored = series.filter(({ dots }) => dots);
    const steps = [...new Set(scored.flatMap(({ points }) => points.map(([step]) => step)))].sort((a, b) => a - b);
    const line = (tag, cells) => make("tr", {}, ...cells.map((cell) => make(tag, {}, cell)));
    const rows = steps.map((step) => line("td", [String(step), ...series.map(({ points }) =>
      digits(points.find((point) => point[0] === step)?.[1]))]));
    const head = make("thead", {}, line("th", ["step", ...series.map(({ title }) => title)]));
    const table = make("table", {}, head, make("tbody", {}, ...rows));
    part.append(make("div", { className: "scroll", tabIndex: 0 }, table));
  }, { once: true });
  return part;
}

// The run's folder, from where this page lies.
function folderOf(item) {
  const beside = location.protocol === "file:" ? decodeURIComponent(location.pathname).replace(/[^/]*$/, "") : "";
  const path = `${beside}runs/${item.run.id}`;
  return /^[\w@%+=:,./-]+$/.test(path) ? path : `'${path.replaceAll("'", "'\\''")}'`;
}

function fill(item) {
  const { run, name } = item;
  const series = curvesOf(item);
  const marks = [...new Set([data.early < run.steps ? data.early : run.steps, run.steps])];
  const charts = series.map(({ title, points, dots }) => chart(title, points, run.steps, marks, Boolean(dots)));
  const kept = run.keep === "last" ? "the last step's picture is kept" : "the best scored step's picture is kept";
  const facts = `${comparisonOf(item).name} · ${run.method} · image ${name} · ${run.steps} steps, ${kept} · `
    + `hacking gap ${digits(run.gap[item.index], true)} · ${digits(run.seconds[item.index])}\u00a0s`;
  byId("detail-title").textContent = item.prompt;
  byId("detail-body").replaceChildren(
    make("p", { className: "faint" }, facts),
    make("div", { className: "beside" }, strip(item), scoreTable(item)),
    make("h3", {}, "All methods on the same start"), others(item),
    make("h3", {}, `Over the steps (marked: ${marks.join(" and ")})`),
    make("div", { className: "curves" }, ...charts),
    allNumbers(series),
    make("h3", {}, "Again, as an animation"),
    make("code", { className: "command", tabIndex: 0 }, `gradproj replay ${folderOf(item)} ${name} --gif`));
  byId("detail-body").querySelectorAll("img").forEach(load);
}

function display(item) {
  displayed = item;
  current = shown.items.indexOf(item);
  fill(item);
  byId("previous").disabled = current <= 0;
  byId("next").disabled = current < 0 || current >= shown.items.length - 1;
  byId("place").textContent = current < 0 ? "" : `${current + 1} of ${shown.items.length}`;
  byId("copy").textContent = "Copy link";
  if (!detail.open) detail.showModal();
  detail.scrollTop = 0;
}

// The address names the opened image: it can be shared, and Back closes the image.
function openItem(item) {
  const address = `#${encodeURIComponent(item.run.id)}/${item.name}`;
  if (detail.open) history.replaceState(history.state, "", address);
  else history.pushState({ opened: true }, "", address);
  display(item);
}

const openDetail = (place) => openItem(shown.items[place]);
const move = (by) => shown.items[current + by] && current >= 0 && openDetail(current + by);

// The image that the address names, if it names one of this page.
function named() {
  try {
    const address = decodeURIComponent(location.hash.slice(1));
    return items.find(({ run, name }) => `${run.id}/${name}` === address);
  } catch {
    return undefined; // it is cut amid an escaped letter
  }
}

function followAddress() {
  const item = named();
  if (item && !shown.items.includes(item)) showComparison(item.run.comparison); // so that it has neighbours
  if (item) return display(item);
  displayed = undefined;
  detail.close();
}

// The close event waits for the next frame, which may be late: Back and Forward have perhaps opened an image by then.
function closed() {
  if (detail.open) return;
  const inGallery = !byId("first").contains(document.activeElement);
  if (displayed && displayed === named()) {
    if (history.state?.opened) history.back();
    else history.replaceState(null, "", location.pathname + location.search);
  }
  if (inGallery && current >= 0) cardAt(current).focus();
}

async function copyLink() {
  try {
    await navigator.clipboard.writeText(location.href);
    byId("copy").textContent = "Copied";
  } catch {
    byId("copy").textContent = "It is in the address bar"; // where a page may not write to the clipboard
  }
}

byId("previous").addEventListener("click", () => move(-1));
byId("next").addEventListener("click", () => move(1));
byId("copy").addEventListener("click", copyLink);
byId("close").addEventListener("click", () => detail.close());
detail.addEventListener("click", (event) => { if (event.target === detail) detail.close(); });
detail.addEventListener("keydown", (event) => {
  if (!plain(event)) return; // Alt with an arrow is the browser's own
  if (event.key === "ArrowLeft") move(-1);
  if (event.key === "ArrowRight") move(1);
});
detail.addEventListener("close", closed);
window.addEventListener("hashchange", followAddress);
followAddress();
