"use strict";
// The map: colours, the plot, what is selected on it. Names reach the document as text only.
const S = window.SOUNDS, N = S.paths.length;
const PALETTE = ["#4ea1f3", "#ff9d4d", "#4dc98f", "#e07ac5", "#8f86f0", "#f3d14e", "#5fd3dc", "#f27575", "#b2d65a", "#c79b6e", "#f0a8d0", "#7fb2a6"];
const GREY = "#7a8090";
const $ = (id) => document.getElementById(id);

function make(tag, name, text) {
  const node = document.createElement(tag);
  if (name) node.className = name;
  if (text !== undefined) node.textContent = text;
  return node;
}
const folderOf = (path) => path.split("/").slice(0, -1);
const fileOf = (path) => path.split("/").pop();
// A copy of a sound that lies outside the folder lies in _up, as many times as it is above.
const place = (i) => (S.link === "audio/" ? S.paths[i].replace(/^(\.\.\/)+/, (up) => up.replaceAll("..", "_up")) : S.paths[i]);
const link = (i) => S.link + place(i).split("/").map(encodeURIComponent).join("/");

// The deepest level of folders that still has at most as many as there are colours, but more than one.
function folders() {
  let best = S.paths.map(() => "");
  for (let depth = 1; depth <= 6; depth++) {
    const names = S.paths.map((path) => folderOf(path).slice(0, depth).join("/"));
    const count = new Set(names).size;
    if (count > 1) best = names;
    if (count >= PALETTE.length) break;
  }
  return best;
}

const COLOURS = {
  folder: { title: "folder", none: "top folder", names: folders() },
  label: { title: "label", none: "no label", names: S.labels },
  cluster: { title: "cluster", none: "no cluster", names: S.clusters.map((c) => (c < 0 ? "" : "cluster " + (c + 1))) },
  duration: { title: "duration", values: S.seconds, log: true, unit: "s" },
  pitch: { title: "pitch", values: S.pitch, log: true, unit: "Hz" },
};
for (const [key, c] of Object.entries(COLOURS)) {
  if (c.names && !c.names.some((name) => name)) delete COLOURS[key];
  else if (c.values && !c.values.some((value) => value)) delete COLOURS[key];
}

function groupsOf(names) {
  const counts = new Map();
  names.forEach((name) => counts.set(name, (counts.get(name) || 0) + 1));
  return [...counts].sort((a, b) => (a[0] === "") - (b[0] === "") || b[1] - a[1]);
}

const SCALE = [[0, "#2c3e8f"], [0.25, "#1f8a9c"], [0.5, "#4fbf74"], [0.75, "#f2c94c"], [1, "#f2704c"]];
const state = { colour: Object.keys(COLOURS)[0], off: new Set(), current: -1, selected: [], lists: [], rows: [] };
const size = () => (N > 5000 ? 4 : N > 500 ? 6 : 11);

// What the plot needs for the present colour: a colour, and whether it is shown, for each sound.
function paint() {
  const c = COLOURS[state.colour], legend = $("legend");
  legend.textContent = "";
  let colour = new Array(N).fill(PALETTE[0]), opacity = new Array(N).fill(0.8), marker = {};
  if (c && c.names) {
    const groups = groupsOf(c.names), of = new Map();
    groups.forEach(([name], k) => of.set(name, name === "" ? GREY : PALETTE[k % PALETTE.length]));
    colour = c.names.map((name) => of.get(name));
    opacity = c.names.map((name) => (state.off.has(name) ? 0.04 : 0.8));
    groups.slice(0, 60).forEach(([name, count]) => {
      const button = make("button", state.off.has(name) ? "off" : "");
      const dot = make("i");
      dot.style.background = of.get(name);
      button.append(dot, (name || c.none) + " " + count.toLocaleString("en"));
      button.title = name || c.none;
      button.addEventListener("click", () => {
        state.off.has(name) ? state.off.delete(name) : state.off.add(name);
        repaint();
      });
      button.setAttribute("aria-label", `${state.off.has(name) ? "show" : "fade"} ${name || c.none}`);
      legend.append(button);
    });
    if (groups.length > 60) legend.append(make("span", "", `and ${groups.length - 60} smaller ones`));
    marker = { color: colour, opacity };
  } else if (c) {
    const known = c.values.filter((v) => v > 0).sort((a, b) => a - b);
    const low = Math.log(known[Math.floor(known.length * 0.01)]), high = Math.log(known[Math.ceil(known.length * 0.99) - 1]);
    const values = c.values.map((v) => (v > 0 ? Math.log(v) : null));
    const bar = make("div", "scale");
    bar.style.background = "linear-gradient(90deg," + SCALE.map((s) => s[1]).join(",") + ")";
    const text = (v) => +Math.exp(v).toPrecision(3) + " " + c.unit;
    legend.append(make("span", "", text(low)), bar, make("span", "", text(high)));
    // Those without a value stay grey and faint.
    marker = { color: values.map((v) => (v === null ? low : v)), cmin: low, cmax: Math.max(high, low + 1e-6), colorscale: SCALE, opacity: values.map((v) => (v === null ? 0.08 : 0.85)) };
  } else marker = { color: colour, opacity };
  return { ...marker, size: size(), line: { width: 0 } };
}

function trace() {
  return { type: "scattergl", mode: "markers", x: S.x, y: S.y, marker: paint(), hoverinfo: "none", selected: { marker: { opacity: 1 } }, unselected: { marker: { opacity: 0.12 } } };
}
function ring() {
  const i = state.current;
  return {
    type: "scattergl", mode: "markers", hoverinfo: "skip", x: i < 0 ? [null] : [S.x[i]], y: i < 0 ? [null] : [S.y[i]],
    marker: { size: size() + 14, color: "rgba(0,0,0,0)", line: { width: 3, color: dark() ? "#fff" : "#000" } },
  };
}
const dark = () => !matchMedia("(prefers-color-scheme: light)").matches;
const axis = () => ({ visible: false, fixedrange: false, range: [-0.04, 1.04] });
const layout = {
  margin: { l: 0, r: 0, t: 0, b: 0 }, showlegend: false, dragmode: "pan", hovermode: "closest", hoverdistance: 12,
  paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", xaxis: axis(), yaxis: axis(),
};

async function draw() {
  // Twice the pixels of the screen in each direction is Plotly's default, four times the work of a frame.
  await Plotly.newPlot("map", [trace(), ring()], layout, { scrollZoom: true, displayModeBar: false, responsive: true, doubleClick: false, plotGlPixelRatio: Math.max(1, devicePixelRatio) });
}
function repaint() {
  const marker = paint();
  Plotly.restyle("map", { marker: [marker] }, [0]);
}
function moveRing() {
  const r = ring();
  Plotly.restyle("map", { x: [r.x], y: [r.y] }, [1]);
}
// Bring a sound into view if it is not.
function show(i) {
  const { xaxis, yaxis } = $("map")._fullLayout, inside = (v, [a, b]) => v >= Math.min(a, b) && v <= Math.max(a, b);
  if (inside(S.x[i], xaxis.range) && inside(S.y[i], yaxis.range)) return;
  const w = (xaxis.range[1] - xaxis.range[0]) / 2, h = (yaxis.range[1] - yaxis.range[0]) / 2;
  Plotly.relayout("map", { "xaxis.range": [S.x[i] - w, S.x[i] + w], "yaxis.range": [S.y[i] - h, S.y[i] + h] });
}
