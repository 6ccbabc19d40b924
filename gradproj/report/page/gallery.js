// The gallery: filters, order, cards. Cards are made some at a time, and a card gets its pictures near the window.
const BATCH = 48;
const shown = { items: [], made: 0 };

const keys = {
  prompt: { title: "prompt and seed", value: null },
  target: { title: "target", value: (item) => scoreOf(item, "kept", comparisonOf(item).target) },
  gap: { title: "hacking gap", value: (item) => item.run.gap[item.index] },
};
for (const comparison of data.comparisons) {
  for (const score of comparison.scores) {
    keys[`score:${score}`] ??= { title: score, value: (item) => scoreOf(item, "kept", score) };
  }
}

const nearCards = new IntersectionObserver((entries) => {
  for (const entry of entries.filter((entry) => entry.isIntersecting)) {
    nearCards.unobserve(entry.target);
    entry.target.querySelectorAll("img").forEach(load);
  }
}, { rootMargin: "300px" });

const nearEnd = new IntersectionObserver((entries) => {
  if (entries.some((entry) => entry.isIntersecting)) addCards();
}, { rootMargin: "900px" });

function card(item, place) {
  const { target } = comparisonOf(item);
  const chosen = byId("sort").value.replace("score:", "");
  const numbers = make("dl", { className: "numbers" });
  for (const score of new Set([target, ...(item.run.kept[chosen] ? [chosen] : [])])) {
    const values = `${digits(scoreOf(item, "start", score))} → ${digits(scoreOf(item, "kept", score))}`;
    numbers.append(make("dt", { title: score }, score), make("dd", {}, values));
  }
  numbers.append(make("dt", {}, "gap"), make("dd", {}, digits(item.run.gap[item.index], true)));
  const button = make("button", { type: "button", className: "card", tabIndex: -1 },
    make("div", { className: "pair" }, picture(item, "start"), picture(item, "kept")),
    make("div", { className: "text", title: item.prompt }, item.prompt),
    make("div", { className: "who" }, make("span", {}, item.run.method), make("span", { className: "id" }, item.name)),
    numbers);
  button.addEventListener("click", () => openDetail(place));
  const line = make("li", {}, button);
  line.dataset.image = `${item.run.id}/${item.name}`;
  nearCards.observe(line);
  return line;
}

function addCards() {
  const batch = shown.items.slice(shown.made, shown.made + BATCH);
  byId("cards").append(...batch.map((item, index) => card(item, shown.made + index)));
  if (shown.made === 0) stopAt(byId("cards"), byId("cards").querySelector("button"));
  shown.made += batch.length;
  nearEnd.unobserve(byId("more"));
  if (shown.made < shown.items.length) nearEnd.observe(byId("more")); // asks again whether the end is near
}

// The card at a place of what the gallery shows, which may have to be made, with all cards before it.
function cardAt(place) {
  while (shown.made <= place) addCards();
  return byId("cards").children[place].querySelector("button");
}

function sorted(found) {
  const { value } = keys[byId("sort").value];
  const sign = byId("direction").dataset.down ? -1 : 1;
  if (!value) return sign < 0 ? found.reverse() : found;
  const ranked = found.map((item) => [value(item), item]);
  const known = ranked.filter(([number]) => number !== null).sort((a, b) => sign * (a[0] - b[0]));
  return [...known, ...ranked.filter(([number]) => number === null)].map(([, item]) => item);
}

function show() {
  const comparison = byId("comparison").value;
  const words = byId("prompt").value.toLowerCase();
  const methods = new Set([...byId("methods").querySelectorAll("input:checked")].map((box) => box.value));
  const found = items.filter((item) => (comparison === "" || item.run.comparison === Number(comparison))
    && methods.has(item.run.method) && item.words.includes(words));
  nearCards.disconnect();
  byId("cards").replaceChildren();
  Object.assign(shown, { items: sorted(found), made: 0 });
  byId("count").textContent = `${found.length.toLocaleString("en")} of ${items.length.toLocaleString("en")} images`;
  addCards();
}

function showDirection() {
  const button = byId("direction");
  button.textContent = button.dataset.down ? "↓ largest first" : "↑ smallest first";
}

// The methods of the chosen comparison, all of them chosen.
function showMethods() {
  const chosen = byId("comparison").value;
  const runs = data.runs.filter((run) => chosen === "" || run.comparison === Number(chosen));
  const boxes = [...new Set(runs.map((run) => run.method))].map((method) =>
    make("label", {}, make("input", { type: "checkbox", value: method, checked: true }), method));
  byId("methods").replaceChildren(byId("methods").firstElementChild, ...boxes);
}

// All images of a comparison, by its place in the data.
function showComparison(place) {
  byId("comparison").value = place;
  byId("prompt").value = "";
  showMethods();
  show();
}

function showMissing() {
  const missing = items.filter((item) => pictureOf(item, "kept") < 0).length;
  byId("missing").hidden = missing === 0;
  byId("missing").textContent = `The pictures of ${missing.toLocaleString("en")} of ${items.length.toLocaleString("en")}`
    + " images are not on this disk, only their numbers. gradproj replay makes one again from its record, gradproj run"
    + " (the run's own command, in its env.json, with another results folder) all of them.";
}

function start() {
  data.comparisons.forEach(({ name }, place) => byId("comparison").append(make("option", { value: place }, name)));
  if (data.comparisons.length > 1) byId("comparison").append(make("option", { value: "" }, "all"));
  for (const [key, { title }] of Object.entries(keys)) byId("sort").append(make("option", { value: key }, title));
  byId("comparison").addEventListener("change", () => { showMethods(); show(); });
  byId("sort").addEventListener("change", () => {
    byId("direction").dataset.down = byId("sort").value === "prompt" ? "" : "yes";
    showDirection();
    show();
  });
  byId("direction").addEventListener("click", (event) => {
    event.currentTarget.dataset.down = event.currentTarget.dataset.down ? "" : "yes";
    showDirection();
    show();
  });
  byId("prompt").addEventListener("input", show);
  byId("methods").addEventListener("change", show);
  byId("controls").addEventListener("submit", (event) => event.preventDefault());
  roam(byId("cards"), (card) => {
    const left = byId("cards").children.length - [...byId("cards").children].indexOf(card.parentElement);
    if (left <= 8 && shown.made < shown.items.length) addCards(); // no row has more than eight
  });
  showDirection();
  showMethods();
  showMissing();
  show();
}

// A plot takes the whole width when selected, and its half again.
function enlarge(event) {
  const image = event.target.closest?.("[data-zoom]");
  if (!image || (event.type === "keydown" && !["Enter", " "].includes(event.key))) return;
  event.preventDefault();
  image.closest("figure").classList.toggle("large");
}

document.addEventListener("click", enlarge);
document.addEventListener("keydown", enlarge);
start();
