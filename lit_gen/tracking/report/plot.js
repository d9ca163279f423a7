// Elements, numbers and lines of plots; knows nothing of runs.

const MARGIN = { left: 52, right: 10, top: 10, bottom: 24 };

function make(name, attributes = {}, parent = null, text = null) {
  const space = parent instanceof SVGElement || name === "svg" ? "http://www.w3.org/2000/svg" : "http://www.w3.org/1999/xhtml";
  const element = document.createElementNS(space, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== null) element.textContent = text;
  if (parent) parent.append(element);
  return element;
}

const shown = (value) => {
  if (typeof value !== "number") return value;
  return value !== 0 && (Math.abs(value) < 1e-3 || Math.abs(value) >= 1e7) ? value.toExponential(3)
    : value.toLocaleString("en", { maximumSignificantDigits: 5 });
};

// Numbers at round places of an interval; of a long logarithmic one powers of ten, and 2 and 5 times these.
function ticks(low, high, log, most) {
  const found = [];
  if (log && high / low > 8) {
    const first = Math.floor(Math.log10(low)), last = Math.ceil(Math.log10(high));
    const every = Math.max(1, Math.ceil((last - first) / most)), factors = last - first <= 2 ? [1, 2, 5] : [1];
    for (let power = first; power <= last; power += every)
      for (const factor of factors) found.push(factor * 10 ** power);
  } else {
    const rough = (high - low) / most, size = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((factor) => factor * size).find((wide) => wide >= rough);
    for (let i = Math.ceil(low / step); i * step <= high * (1 + 1e-12) && found.length < 40; i++) found.push(i * step);
  }
  return found.filter((value) => value >= low * (1 - 1e-12) - 1e-300 && value <= high + Math.abs(high) * 1e-12);
}

const short = (value) => {
  const size = Math.abs(value);
  if (size > 0 && size < 1e-3) return Number(value.toPrecision(3)).toExponential();
  if (size >= 1e12) return value.toExponential(1);
  if (size >= 1e4) return Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 6 }).format(value);
  return String(Number(value.toPrecision(4)));
};

// Means with Gaussian weights, as wide as `width` of the axis. Values that are no numbers stay as they are.
function smooth(given, width) {
  let first = 0;
  return given.map(([x, y]) => {
    if (typeof y !== "number") return [x, y];
    while (given[first][0] < x - 3 * width) first++;
    let sum = 0, weights = 0;
    for (let j = first; j < given.length && given[j][0] <= x + 3 * width; j++) {
      if (typeof given[j][1] !== "number") continue;
      const weight = Math.exp(-0.5 * ((given[j][0] - x) / width) ** 2);
      sum += weight * given[j][1];
      weights += weight;
    }
    return [x, sum / weights];
  });
}

function extent(values) {
  let low = Infinity, high = -Infinity;
  for (const value of values)
    if (typeof value === "number") { if (value < low) low = value; if (value > high) high = value; }
  return [low, high];
}

// A line that is broken where a value is none; crosses at the bottom tell where, dots show values that stand alone.
function trace(svg, given, usable, toX, toY, kind, bottom) {
  let path = "", length = 0, last = null;
  const dots = given.length <= 20;
  const dot = ([x, y]) => make("circle", { class: kind, cx: toX(x), cy: toY(y), r: 2.2 }, svg);
  const close = () => { if (length === 1 && !dots) dot(last); length = 0; };
  for (const point of given) {
    if (!usable(point[1])) {
      close();
      if (bottom !== null && typeof point[1] !== "number") {
        const x = toX(point[0]);
        make("path", { class: `${kind} missing`, d: `M${x - 3},${bottom - 6}l6,6m0,-6l-6,6` }, svg);
      }
      continue;
    }
    path += `${length ? "L" : "M"}${toX(point[0]).toFixed(1)},${toY(point[1]).toFixed(1)}`;
    length++;
    last = point;
    if (dots) dot(point);
  }
  close();
  make("path", { class: kind, d: path || "M0,0" }, svg);
}

const nearest = (given, x) => given.reduce((best, point) => (!best || Math.abs(point[0] - x) < Math.abs(best[0] - x) ? point : best), null);

function makeCurves() {
  for (const [kind, names] of data.kinds) {
    const group = make("details", { open: "" }, byId("curves"));
    make("summary", {}, group, `${kind} (${names.length})`);
    const grid = make("div", { class: "plots" }, group);
    for (const name of names) {
      const figure = make("figure", { "data-curve": name }, grid);
      const caption = make("figcaption", {}, figure);
      make("bdi", {}, caption, name);
      make("button", { type: "button", "aria-label": `Enlarge ${name}`, "aria-pressed": "false" }, caption, "⤢");
      make("svg", { tabindex: "0", role: "img", "aria-label": `Curve of ${name}; arrow keys tell its values` }, figure);
      make("div", { class: "values", hidden: "", role: "status" }, figure);
      make("div", { class: "said" }, figure);
      listen(figure);
    }
    group.addEventListener("toggle", redraw);
  }
}

// What was last at or before a step; the first where there is none.
const upTo = (items, step) => items.filter((item) => item[0] <= step).pop() ?? items[0];
