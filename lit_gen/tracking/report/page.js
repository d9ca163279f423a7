// The page: what the reader has chosen, and the plots, pictures and histograms of the runs by it.

const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const state = { axis: "steps", smoothing: 0, log: false, hidden: new Set(), filter: "" };

// A curve of a run on the chosen axis: [x, y] in its order, y a number or the name of what is none.
function points(run, at, values) {
  const axis = run[state.axis];
  return at.map((place, i) => [axis[place], values[i]]).filter(([x]) => typeof x === "number");
}

const visible = () => data.runs.filter((run, i) => !state.hidden.has(i));

// The same for all plots: where the shown runs begin and end.
function horizontal() {
  const [low, high] = extent(visible().flatMap((run) => extent(run[state.axis])).filter(Number.isFinite));
  if (!(low < high)) return Number.isFinite(low) ? [low - 1, low + 1] : [0, 1];
  return [low - (high - low) / 100, high + (high - low) / 100];
}

function draw(figure, name, range) {
  const svg = figure.querySelector("svg"), width = figure.clientWidth || 360, height = figure.classList.contains("wide") ? 380 : 190;
  const [left, right] = range, spread = right - left;
  const lines = visible().filter((run) => run.curves[name]).map((run) => {
    const curve = run.curves[name], raw = points(run, curve.at, curve.values);
    const base = curve.means ? points(run, curve.mean_at, curve.means) : raw;
    return { run, raw, smoothed: state.smoothing ? smooth(base, (state.smoothing / 100) * spread) : null };
  });
  const usable = (y) => typeof y === "number" && (!state.log || y > 0);
  let [low, high] = extent(lines.flatMap(({ raw }) => extent(raw.map(([, y]) => (usable(y) ? y : null)))).filter(Number.isFinite));
  if (!Number.isFinite(low)) [low, high] = state.log ? [0.1, 1] : [0, 1];
  const scale = state.log ? Math.log10 : (y) => y;
  if (low === high) [low, high] = state.log ? [low / 2, high * 2] : [low - (Math.abs(low) || 1) / 2, high + (Math.abs(high) || 1) / 2];
  const free = (scale(high) - scale(low)) * 0.04;
  const [floor, ceiling] = [scale(low) - free, scale(high) + free];
  const toX = (x) => MARGIN.left + ((x - left) / spread) * (width - MARGIN.left - MARGIN.right);
  const bottom = height - MARGIN.bottom;
  const toY = (y) => bottom - ((scale(y) - floor) / (ceiling - floor)) * (bottom - MARGIN.top);
  svg.replaceChildren();
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  for (const y of ticks(low, high, state.log, 5)) {
    make("line", { class: "grid", x1: MARGIN.left, x2: width - MARGIN.right, y1: toY(y), y2: toY(y) }, svg);
    make("text", { class: "tick", x: MARGIN.left - 5, y: toY(y) + 4, "text-anchor": "end" }, svg, short(y));
  }
  for (const x of ticks(left, right, false, width / 90)) {
    make("line", { class: "grid", x1: toX(x), x2: toX(x), y1: MARGIN.top, y2: bottom }, svg);
    make("text", { class: "tick", x: Math.min(toX(x), width - 14), y: height - 7, "text-anchor": "middle" }, svg, short(x));
  }
  let dropped = 0, missing = 0;
  for (const { run, raw, smoothed } of lines) {
    missing += raw.filter(([, y]) => typeof y !== "number").length;
    dropped += raw.filter(([, y]) => typeof y === "number" && !usable(y)).length;
    trace(svg, raw, usable, toX, toY, `line run-${run.number % 10}${smoothed ? " faint" : ""}`, bottom);
    if (smoothed) trace(svg, smoothed, usable, toX, toY, `line run-${run.number % 10}`, null);
  }
  make("line", { class: "cursor", x1: 0, x2: 0, y1: MARGIN.top, y2: bottom, visibility: "hidden" }, svg);
  const few = lines.filter(({ run }) => run.curves[name].means).map(({ run }) => run.curves[name].of);
  figure.querySelector(".said").textContent = [
    missing ? "× marks values that are no finite numbers" : "",
    dropped ? "values ≤ 0 are not on a logarithmic axis" : "",
    few.length ? `thinned from ${Math.max(...few).toLocaleString("en")} values, extremes kept` : "",
  ].filter(Boolean).join("; ");
  figure.plot = { lines, left, right, width, toX };
  figure.at = undefined; // where its values were told, perhaps of another axis
}

// The values nearest to a place of the axis, in a box beside it.
function tell(figure, x) {
  const { lines, width, toX } = figure.plot, box = figure.querySelector(".values"), cursor = figure.querySelector(".cursor");
  const found = lines.map((line) => [line, nearest(line.raw, x)]).filter(([, point]) => point);
  if (!found.length) return;
  const place = found.reduce((best, item) => (Math.abs(item[1][0] - x) < Math.abs(best[1][0] - x) ? item : best))[1][0];
  figure.at = place;
  box.replaceChildren();
  make("div", {}, box, `${shown(place)} ${state.axis}`);
  for (const [{ run, smoothed }, [at, y]] of found) {
    const row = make("div", {}, box);
    make("span", { class: `swatch run-${run.number % 10}` }, row);
    const beside = Math.abs(at - place) > 1e-9 ? ` at ${shown(at)}` : "";
    make("span", {}, row, `${run.number + 1}: ${shown(y)}${smoothed ? `, smoothed ${shown(nearest(smoothed, at)[1])}` : ""}${beside}`);
  }
  cursor.setAttribute("x1", toX(place));
  cursor.setAttribute("x2", toX(place));
  cursor.setAttribute("visibility", "visible");
  box.hidden = false;
  const share = toX(place) / width;
  box.style.left = share < 0.5 ? `${share * 100 + 3}%` : "auto";
  box.style.right = share < 0.5 ? "auto" : `${(1 - share) * 100 + 3}%`;
}

function silence(figure) {
  figure.querySelector(".values").hidden = true;
  figure.querySelector(".cursor")?.setAttribute("visibility", "hidden");
}

function listen(figure) {
  const svg = figure.querySelector("svg");
  const place = (event) => {
    const { left, right, width } = figure.plot, box = svg.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * width;
    return left + ((x - MARGIN.left) / (width - MARGIN.left - MARGIN.right)) * (right - left);
  };
  svg.addEventListener("pointermove", (event) => tell(figure, place(event)));
  svg.addEventListener("pointerdown", (event) => tell(figure, place(event)));
  svg.addEventListener("pointerleave", () => silence(figure));
  svg.addEventListener("focus", () => tell(figure, figure.at ?? figure.plot.right));
  svg.addEventListener("blur", () => silence(figure));
  svg.addEventListener("keydown", (event) => {
    const all = [...new Set(figure.plot.lines.flatMap(({ raw }) => raw.map(([x]) => x)))].sort((a, b) => a - b);
    const stride = event.shiftKey ? 10 : 1, now = all.indexOf(figure.at ?? all[all.length - 1]);
    const moved = { ArrowLeft: now - stride, ArrowRight: now + stride, Home: 0, End: all.length - 1 }[event.key];
    if (event.key === "Escape") silence(figure);
    if (moved === undefined || !all.length) return;
    event.preventDefault();
    tell(figure, all[Math.min(Math.max(moved, 0), all.length - 1)]);
  });
  figure.querySelector("button").addEventListener("click", () => {
    const wide = figure.classList.toggle("wide");
    figure.querySelector("button").setAttribute("aria-pressed", wide);
    draw(figure, figure.dataset.curve, horizontal());
  });
}

const figures = () => [...document.querySelectorAll("figure[data-curve]")];

function drawAll() {
  const range = horizontal();
  for (const figure of figures()) {
    const runs = visible().some((run) => run.curves[figure.dataset.curve]);
    figure.hidden = !figure.dataset.curve.toLowerCase().includes(state.filter) || !runs;
    if (!figure.hidden) draw(figure, figure.dataset.curve, range);
  }
  for (const group of document.querySelectorAll("#curves details"))
    group.hidden = [...group.querySelectorAll("figure")].every((figure) => figure.hidden);
  for (const [i] of data.runs.entries())
    for (const element of document.querySelectorAll(`[data-run="${i}"]`)) element.hidden = state.hidden.has(i);
}

let waiting = false;
function redraw() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => { waiting = false; drawAll(); });
}

function slide(slider, show) {
  const steps = slider.dataset.steps.split(",").map(Number), output = slider.parentElement.querySelector("output");
  const move = () => {
    const step = steps[slider.value];
    output.textContent = `step ${step.toLocaleString("en")}`;
    slider.setAttribute("aria-valuetext", output.textContent);
    show(step);
  };
  slider.addEventListener("input", move);
  move();
}

function showPicture(figure, step) {
  const run = data.runs[figure.dataset.run];
  const [at, width, height, address] = upTo(run.pictures[figure.dataset.kind], step), picture = figure.querySelector("img");
  Object.assign(picture, { width, height, src: address, alt: `${figure.dataset.kind} at step ${at}` });
  figure.querySelector(".at").textContent = `step ${at.toLocaleString("en")}`;
}

function showHistogram(figure, step) {
  const sides = data.runs[figure.dataset.run].histograms[figure.dataset.kind], svg = figure.querySelector("svg");
  const width = 360, height = 150, bottom = height - MARGIN.bottom, rows = Object.values(sides).flat();
  const [low, high] = extent(rows.flatMap(([, first, last]) => [first, last]));
  const spread = high - low || 1, toX = (x) => 10 + ((x - low) / spread) * (width - 20);
  svg.replaceChildren();
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  for (const x of ticks(low, low + spread, false, 5)) {
    make("line", { class: "grid", x1: toX(x), x2: toX(x), y1: 4, y2: bottom }, svg);
    make("text", { class: "tick", x: Math.min(Math.max(toX(x), 14), width - 14), y: height - 7, "text-anchor": "middle" }, svg, short(x));
  }
  let at = step;
  // As densities, since the bins of the two sides are not equally wide.
  const chosen = Object.entries(sides).map(([side, all]) => [side, upTo(all, step)]);
  const density = ([, first, last, counts]) => counts.map((count) => count / ((last - first) || 1) / counts.reduce((a, b) => a + b));
  const top = Math.max(...chosen.flatMap(([, row]) => density(row)));
  for (const [side, row] of chosen) {
    const [, first, last, counts] = row, values = density(row);
    at = row[0];
    let path = `M${toX(first)},${bottom}`;
    values.forEach((value, i) => {
      const y = bottom - (value / top) * (bottom - 8);
      path += `V${y}H${toX(first + ((i + 1) * (last - first)) / counts.length)}`;
    });
    make("path", { class: `histogram ${side || "one"}`, d: `${path}V${bottom}Z` }, svg);
  }
  figure.querySelector(".at").textContent = `step ${at.toLocaleString("en")}`;
}

makeCurves();
for (const radio of document.querySelectorAll("input[name=axis]"))
  radio.addEventListener("change", () => { state.axis = radio.value; redraw(); });
byId("smoothing").addEventListener("input", (event) => {
  state.smoothing = Number(event.target.value);
  byId("smoothing-value").textContent = `${event.target.value} %`;
  redraw();
});
byId("log").addEventListener("change", (event) => { state.log = event.target.checked; redraw(); });
byId("filter").addEventListener("input", (event) => { state.filter = event.target.value.toLowerCase(); redraw(); });
for (const box of document.querySelectorAll("input[data-shows]"))
  box.addEventListener("change", () => { state.hidden[box.checked ? "delete" : "add"](Number(box.dataset.shows)); redraw(); });
for (const section of document.querySelectorAll("[data-slides]")) {
  const show = section.dataset.slides === "pictures" ? showPicture : showHistogram;
  slide(section.querySelector("input[type=range]"), (step) => section.querySelectorAll("figure").forEach((figure) => show(figure, step)));
}
let closed = [];
addEventListener("beforeprint", () => {
  closed = [...document.querySelectorAll("details:not([open])")];
  for (const part of closed) part.open = true;
  drawAll();
});
addEventListener("afterprint", () => { for (const part of closed) part.open = false; });
addEventListener("resize", redraw);
drawAll();
