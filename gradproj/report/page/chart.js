// One curve over the steps as SVG: a line where there are numbers, dots where scored, marks at step 60 and at the end.
const CHART = { width: 340, height: 150, left: 44, right: 12, top: 8, bottom: 20 };

function svg(tag, attributes, text = "") {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.textContent = text;
  return element;
}

// About `count` round numbers from low to high.
function ticks(low, high, count) {
  const rough = (high - low) / count || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const unit = [1, 2, 5, 10].find((factor) => factor * power >= 0.7 * rough) * power;
  const first = Math.ceil(low / unit);
  return Array.from({ length: Math.max(0, Math.floor(high / unit) - first + 1) }, (_, index) => (first + index) * unit);
}

function scale(from, to, low, high) {
  return (value) => from + ((value - low) / (high - low || 1)) * (to - from);
}

function frame(x, y, low, high, marks) {
  const { width, height, left, right, top, bottom } = CHART;
  const parts = [];
  for (const value of ticks(low, high, 4)) {
    parts.push(svg("line", { class: "grid", x1: left, x2: width - right, y1: y(value), y2: y(value) }));
    const at = { x: left - 6, y: y(value) + 4, "text-anchor": "end" };
    parts.push(svg("text", at, digits(Number(value.toPrecision(6)))));
  }
  for (const step of marks) {
    parts.push(svg("line", { class: "marker", x1: x(step), x2: x(step), y1: top, y2: height - bottom }));
  }
  for (const step of [0, ...marks]) {
    parts.push(svg("text", { x: x(step), y: height - 5, "text-anchor": step === 0 ? "start" : "middle" }, String(step)));
  }
  return parts;
}

// points: [[step, value], ...] by step; last: the run's last step; marks: steps to mark; dots: whether each is a dot.
function chart(title, points, last, marks, dots) {
  const { width, height, left, right, top, bottom } = CHART;
  const given = points.filter(([, value]) => !Number.isNaN(value));
  const values = given.map(([, value]) => value);
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const x = scale(left, width - right - 6, 0, last);
  const y = scale(height - bottom - 6, top + 4, low, high);
  const at = ([step, value]) => `${x(step).toFixed(1)} ${y(value).toFixed(1)}`;
  const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${title} over the steps` });
  picture.append(...frame(x, y, low, high, marks));
  const path = given.map((point, index) => (index ? "L" : "M") + at(point)).join("");
  picture.append(svg("path", { class: "line", d: path }));
  if (dots) picture.append(...given.map(([step, value]) => svg("circle", { class: "dot", cx: x(step), cy: y(value), r: 2 })));
  const marked = given.filter(([step]) => marks.includes(step));
  picture.append(...marked.map(([step, value]) => svg("circle", { class: "marked", cx: x(step), cy: y(value), r: 4.5 })));
  const words = marked.map(([step, value]) => `${step}: ${digits(value)}`).join(" · ");
  const readout = make("span", {}, words);
  follow(picture, given, x, y, (point) => {
    readout.textContent = point ? `${point[0]}: ${digits(point[1])}` : words;
  });
  return make("figure", {}, make("figcaption", {}, make("b", {}, title), readout), picture);
}

// Under the pointer: the nearest step's number.
function follow(picture, given, x, y, tell) {
  const cursor = svg("line", { class: "cursor", y1: CHART.top, y2: CHART.height - CHART.bottom, visibility: "hidden" });
  picture.append(cursor);
  picture.addEventListener("pointermove", (event) => {
    const box = picture.getBoundingClientRect();
    const place = ((event.clientX - box.left) / box.width) * CHART.width;
    const off = (point) => Math.abs(x(point[0]) - place);
    const nearest = given.reduce((best, point) => (off(point) < off(best) ? point : best), given[0]);
    cursor.setAttribute("x1", x(nearest[0]));
    cursor.setAttribute("x2", x(nearest[0]));
    cursor.setAttribute("visibility", "visible");
    tell(nearest);
  });
  picture.addEventListener("pointerleave", () => {
    cursor.setAttribute("visibility", "hidden");
    tell(null);
  });
}
