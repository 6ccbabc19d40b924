// What the page begins with: the same few images under every method, and what became of the means over all images.
const FELL = "▼";

// A method's name, which may be broken behind an underscore.
const heading = (method) =>
  make("b", { className: "method" }, ...method.split(/(?<=_)/).flatMap((part) => [part, make("wbr")]));

// One score under its short name; a number that fell has a mark, and the word for those who hear the page.
function line(comparison, score, values, fell = false) {
  const place = comparison.scores.indexOf(score);
  const text = values.map((value) => (value === null ? "–" : value.toFixed(comparison.decimals[place]))).join(" → ");
  const value = make("span", { className: "value" }, text);
  if (fell) value.append(make("span", { ariaHidden: "true" }, ` ${FELL}`), make("span", { className: "unseen" }, " fell"));
  const name = make("span", { className: "name", title: score }, comparison.short[place]);
  return make("span", { className: `line${place ? "" : " climbed"}${fell ? " fell" : ""}` }, name, value);
}

// By the decimals that are shown: of a smaller fall nobody would see where it is.
function hasFallen(comparison, score, from, to) {
  const shown = (value) => Number(value.toFixed(comparison.decimals[comparison.scores.indexOf(score)]));
  return comparison.held_out.includes(score) && from !== null && to !== null && shown(to) < shown(from);
}

function mean(values) {
  const given = values.filter((value) => value !== null);
  return given.length ? given.reduce((sum, value) => sum + value, 0) / given.length : null;
}

// A bar as long as the gain beside the longest gain of the comparison.
function gauge(gain, longest) {
  const bar = make("span", { className: gain < 0 ? "down" : "up" });
  bar.style.width = `${(100 * Math.abs(gain)) / longest}%`;
  return make("span", { className: "gauge", ariaHidden: "true" }, bar);
}

// The means of the starts, and of what each method made of them.
function means(comparison, runs) {
  const longest = Math.max(1e-9, ...runs.flatMap((run) => Object.values(run.gain).map(Math.abs)));
  const cell = (title, parts) => make("div", { className: "cell" }, heading(title), ...parts);
  const starts = comparison.scores.flatMap((score) =>
    [line(comparison, score, [mean(runs.map((run) => mean(run.start[score])))]), gauge(0, 1)]);
  const cells = runs.map((run) => cell(run.method, comparison.scores.flatMap((score) => {
    const [from, to] = [mean(run.start[score]), mean(run.kept[score])];
    const fell = hasFallen(comparison, score, from, to);
    return [line(comparison, score, [from, to], fell), gauge(run.gain[score] ?? 0, longest)];
  })));
  return [cell("start", starts), ...cells];
}

// One picture of an image with its scores: the start, or what a method kept, which opens the image.
function shot(comparison, item, kind) {
  const lines = comparison.scores.map((score) => {
    const [from, value] = [scoreOf(item, "start", score), scoreOf(item, kind, score)];
    return line(comparison, score, [value], kind === "kept" && hasFallen(comparison, score, from, value));
  });
  const method = kind === "start" ? "start" : item.run.method;
  const parts = [picture(item, kind), heading(method), ...lines];
  if (kind === "start") return make("div", { className: "cell" }, ...parts);
  const button = make("button", { type: "button", className: "cell shot", tabIndex: -1 }, ...parts);
  button.addEventListener("click", () => openItem(item));
  return button;
}

function showFirst(place) {
  const comparison = data.comparisons[place];
  const runs = data.runs.filter((run) => run.comparison === place);
  const article = (title, id, cells) => {
    const head = make("div", { className: "head" }, make("h3", { title }, title), make("span", { className: "id" }, id));
    return make("article", {}, head, make("div", { className: "row" }, ...cells));
  };
  const images = comparison.first.map((index) => {
    const same = runs.map((run) => run.items[index]);
    return article(same[0].prompt, same[0].name,
      [shot(comparison, same[0], "start"), ...same.map((item) => shot(comparison, item, "kept"))]);
  });
  const count = runs[0].names.length.toLocaleString("en");
  const cells = runs.length + 1;
  byId("pictures").style.setProperty("--cells", cells);
  byId("pictures").style.setProperty("--narrow", Math.ceil(cells / Math.ceil(cells / 3))); // of 4 two rows of 2
  byId("verdict").textContent = comparison.verdict;
  byId("first").replaceChildren(...images);
  byId("means").replaceChildren(article(`Means over all ${count} images`, "", means(comparison, runs)));
  byId("rule").hidden = byId("legend").hidden = images.length === 0;
  byId("pictureless").hidden = images.length > 0;
  byId("first").querySelectorAll("img").forEach(load);
  stopAt(byId("first"), byId("first").querySelector("button"));
}

// A pill for each comparison, where there are several.
function chooseFirst() {
  const pills = data.comparisons.map(({ name }, place) =>
    make("label", {}, make("input", { type: "radio", name: "task", value: place, checked: place === 0 }), name));
  byId("tasks").append(...pills);
  byId("tasks").hidden = pills.length < 2;
  byId("tasks").addEventListener("change", (event) => {
    showFirst(Number(event.target.value));
    showComparison(event.target.value); // in the gallery, too
  });
  roam(byId("first"));
  showFirst(0);
}

chooseFirst();
