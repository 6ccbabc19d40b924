// What all parts of the page share. Text from the records reaches the page by textContent and attributes alone.
"use strict";

const byId = (id) => document.getElementById(id);
const parsed = new Map();

// The JSON in <script id=...>, parsed when it is first asked for.
function block(id) {
  if (!parsed.has(id)) parsed.set(id, JSON.parse(byId(id).textContent));
  return parsed.get(id);
}

const data = block("data");
const PER_BLOCK = data.block; // pictures

// An element with properties, attributes (by name, where there is no such property) and children.
function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in element) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

// Four significant digits, or a dash where there is no number.
function digits(value, signed = false) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  const text = String(Number(value.toPrecision(4)));
  return signed && value > 0 ? `+${text}` : text;
}

// Every image of every run: the gallery's items.
function everyItem() {
  const items = [];
  data.runs.forEach((run, place) => {
    run.place = place;
    run.items = run.names.map((name, index) => {
      const prompt = data.comparisons[run.comparison].prompts[Number(name.split("-")[0])];
      return { run, index, name, prompt, words: prompt.toLowerCase() };
    });
    items.push(...run.items);
  });
  const order = items.map((item, place) => [item.run.comparison, item.index, item.run.place, place]);
  order.sort((a, b) => a[0] - b[0] || a[1] - b[1] || a[2] - b[2]);
  return order.map((keys) => items[keys[3]]);
}

const items = everyItem();
const comparisonOf = (item) => data.comparisons[item.run.comparison];
const scoreOf = (item, when, score) => item.run[when][score]?.[item.index] ?? null;

// The number of an image's picture of this kind ("start", "kept", ...); -1 where there is none.
const pictureOf = (item, kind) => item.run.pictures[kind]?.[item.index] ?? -1;

// Give an <img> its picture; the pictures near it in the file are parsed with it.
function load(image) {
  const number = Number(image.dataset.picture);
  image.addEventListener("load", () => image.classList.toggle("pixelated", image.naturalHeight <= 64), { once: true });
  image.src = block(`pictures-${Math.floor(number / PER_BLOCK)}`)[number % PER_BLOCK];
}

function picture(item, kind) {
  const number = pictureOf(item, kind);
  if (number < 0) return make("span", {}, `no ${kind}`);
  const image = make("img", { alt: kind, decoding: "async" });
  image.dataset.picture = number;
  return image;
}
