"use strict";
// The panels: the current sound, lists, search, frames, selection.
const player = $("player");
const ALONE = "There is no other sound.";
const counted = (n) => n.toLocaleString("en") + (n === 1 ? " sound" : " sounds");

// Thumbnails lie in sheets of images.
function paintThumb(node, i, width, height) {
  const place = i % S.sheet, x = place % S.row, y = Math.floor(place / S.row);
  const rows = Math.ceil(Math.min(S.sheet, N - (i - place)) / S.row);
  node.style.backgroundImage = `url("data/thumbs${Math.floor(i / S.sheet)}.jpg")`;
  node.style.backgroundSize = `${S.row * width}px ${rows * height}px`;
  node.style.backgroundPosition = `${-x * width}px ${-y * height}px`;
}
const time = (s) => (s >= 60 ? Math.floor(s / 60) + ":" + String(Math.floor(s % 60)).padStart(2, "0") + " min" : s.toFixed(2) + " s");

function facts(i) {
  const parts = [time(S.seconds[i])];
  if (S.pitch[i]) parts.push(Math.round(S.pitch[i]) + " Hz");
  if (S.labels[i]) parts.push("label " + S.labels[i]);
  if (S.clusters[i] >= 0) parts.push("cluster " + (S.clusters[i] + 1));
  const folder = folderOf(S.paths[i]).join("/");
  if (folder) parts.push("in " + folder);
  return parts.join(" · ");
}

// A row of a list: thumbnail, name, and what else; `at` is a window to mark, in seconds.
function item(i, text, at) {
  const button = make("button"), thumb = make("div", "small thumb"), words = make("div", "words", fileOf(S.paths[i]));
  thumb.setAttribute("role", "img");
  thumb.setAttribute("aria-label", "spectrogram of " + fileOf(S.paths[i]));
  paintThumb(thumb, i, 96, 48);
  if (at !== undefined) {
    const mark = make("b");
    mark.style.left = (100 * at) / S.seconds[i] + "%";
    mark.style.width = (100 * Math.min(S.window, S.seconds[i] - at)) / S.seconds[i] + "%";
    thumb.append(mark);
  }
  words.append(make("em", "", text));
  button.append(thumb, words);
  button.dataset.sound = i;
  button.title = S.paths[i];
  button.addEventListener("click", () => choose(i, { at }));
  const li = make("li");
  li.append(button);
  return li;
}

function play(i, at) {
  const source = link(i);
  if (player.getAttribute("src") !== source) player.setAttribute("src", source);
  const start = () => {
    if (at !== undefined) player.currentTime = at;
    player.play().catch(() => {}); // an error of the file is told by its own event
  };
  if (at === undefined || player.readyState > 0) start();
  else { player.addEventListener("loadedmetadata", start, { once: true }); player.load(); }
}

// Show and play a sound; at a half second of it, the list stays.
function choose(i, { at } = {}) {
  state.current = i;
  $("hint").hidden = true;
  $("current").hidden = false;
  $("problem").hidden = true;
  $("name").textContent = fileOf(S.paths[i]);
  $("facts").textContent = facts(i);
  const picture = $("picture");
  picture.setAttribute("aria-label", "spectrogram of " + fileOf(S.paths[i]));
  if (at === undefined) {
    tab("sound");
    neighbours(i);
  }
  paintPicture();
  mark(at);
  moveRing();
  show(i);
  play(i, at);
}
function paintPicture() {
  const box = $("picture").getBoundingClientRect();
  if (state.current >= 0 && box.width) paintThumb($("picture"), state.current, box.width, box.height);
}
addEventListener("resize", paintPicture);

function neighbours(i) {
  $("listtitle").textContent = "Nearest neighbours";
  const list = $("near");
  list.textContent = "";
  S.near[i].forEach((j, k) => list.append(item(j, "similarity " + S.cosines[i][k].toFixed(2) + " · " + time(S.seconds[j]))));
  if (!S.near[i].length) list.append(make("li", "", ALONE));
}

function mark(at) {
  const node = $("mark"), length = S.seconds[state.current];
  node.hidden = at === undefined;
  if (at === undefined) return;
  node.style.left = (100 * at) / length + "%";
  node.style.width = (100 * Math.min(S.window, length)) / length + "%";
}

// Frame view: where in all other sounds does this half second occur?
let bytes = null;
function windows() {
  if (bytes) return Promise.resolve(bytes);
  return new Promise((done, failed) => {
    const node = make("script");
    node.src = "data/windows.js";
    node.onload = () => {
      const text = atob(window.WINDOWS.values);
      bytes = new Int8Array(text.length);
      for (let k = 0; k < text.length; k++) bytes[k] = text.charCodeAt(k);
      window.WINDOWS.values = "";
      done(bytes);
    };
    node.onerror = failed;
    document.head.append(node);
  });
}
async function half(i, seconds) {
  const all = await windows(), dim = window.WINDOWS.dim;
  const w = Math.max(0, Math.min(Math.round((seconds - S.window / 2) / S.hop), S.first[i + 1] - S.first[i] - 1));
  const at = w * S.hop, from = (S.first[i] + w) * dim, query = Float32Array.from(all.subarray(from, from + dim));
  const hits = [];
  let norm = 0;
  for (const v of query) norm += v * v;
  for (let j = 0; j < N; j++) {
    let best = -Infinity, where = 0;
    for (let k = S.first[j]; k < S.first[j + 1]; k++) {
      let sum = 0;
      for (let d = 0, p = k * dim; d < dim; d++, p++) sum += all[p] * query[d];
      if (sum > best) { best = sum; where = k - S.first[j]; }
    }
    if (j !== i) hits.push([best / norm, j, where * S.hop]);
  }
  hits.sort((a, b) => b[0] - a[0]);
  mark(at);
  $("listtitle").textContent = `Where else this half second occurs (${at.toFixed(2)} to ${Math.min(at + S.window, S.seconds[i]).toFixed(2)} s)`;
  const list = $("near");
  list.textContent = "";
  if (!hits.length) list.append(make("li", "", ALONE));
  hits.slice(0, 20).forEach(([score, j, start]) => list.append(item(j, `at ${start.toFixed(2)} s · similarity ${Math.min(1, score).toFixed(2)}`, start)));
  play(i, at);
}
$("spectrogram").addEventListener("click", (event) => {
  const box = $("picture").getBoundingClientRect();
  half(state.current, ((event.clientX - box.left) / box.width) * S.seconds[state.current]);
});
player.addEventListener("timeupdate", () => {
  if (state.current >= 0) $("head").style.left = (100 * player.currentTime) / S.seconds[state.current] + "%";
});
player.addEventListener("error", () => {
  if (!player.getAttribute("src")) return;
  $("problem").hidden = false;
  $("problem").textContent = "This browser cannot play the file, or it has moved: " + S.paths[state.current];
});

function tab(name) {
  document.querySelectorAll("[role=tab]").forEach((node) => node.setAttribute("aria-selected", String(node.dataset.tab === name)));
  document.querySelectorAll(".panel").forEach((node) => { node.hidden = node.id !== name; });
  if (name === "sound") paintPicture();
}
document.querySelectorAll("[role=tab]").forEach((node) => node.addEventListener("click", () => tab(node.dataset.tab)));

function pairsInWords() {
  if (S.alike < 2) return S.alike ? "One pair." : "No two sounds are nearly alike.";
  return `${S.alike.toLocaleString("en")} pairs, the closest first` + (S.alike > S.duplicates.length ? `; the first ${S.duplicates.length} are listed.` : ".");
}
function lists() {
  const counts = new Map();
  S.clusters.forEach((c) => counts.set(c, (counts.get(c) || 0) + 1));
  const clusters = document.querySelector("#clusters ol");
  S.medoids.forEach((i, c) => clusters.append(item(i, `cluster ${c + 1} · ${counted(counts.get(c))}`)));
  if (!S.medoids.length) document.querySelector("#clusters p").textContent = "Too few sounds for clusters.";
  const pairs = document.querySelector("#duplicates ol");
  S.duplicates.forEach(([a, b, cosine]) => {
    const li = make("li");
    li.append(...item(a, "similarity " + cosine.toFixed(3) + " · " + facts(a)).children, ...item(b, facts(b)).children);
    pairs.append(li);
  });
  document.querySelector("#duplicates p").textContent = pairsInWords();
  const far = document.querySelector("#outliers ol");
  document.querySelector("#outliers p").textContent = !S.outliers.length ? ALONE : "Farthest from their neighbours first" +
    (S.outliers.length < N ? `; ${S.outliers.length} of ${counted(N)} are listed.` : ".");
  S.outliers.forEach((i) => far.append(item(i, facts(i))));
}

// Search by name: every word must occur.
const lower = S.paths.map((path) => path.toLowerCase());
function search() {
  const words = $("search").value.toLowerCase().split(/\s+/).filter(Boolean), list = $("found");
  list.textContent = "";
  list.hidden = !words.length;
  if (!words.length) return highlight([]);
  const hits = [];
  for (let i = 0; i < N; i++) if (words.every((word) => lower[i].includes(word))) hits.push(i);
  hits.slice(0, 50).forEach((i) => {
    const li = make("li"), button = make("button", "", S.paths[i]);
    button.addEventListener("click", () => { list.hidden = true; choose(i); });
    li.append(button);
    list.append(li);
  });
  if (hits.length > 50) list.append(make("li", "", `and ${(hits.length - 50).toLocaleString("en")} more, marked on the map`));
  if (!hits.length) list.append(make("li", "", "No name has this."));
  highlight(hits);
}
// Mark sounds on the map; of none, all are as they were.
function highlight(hits) {
  Plotly.restyle("map", { selectedpoints: [hits.length ? hits : null] }, [0]);
  count(hits.length ? hits.length.toLocaleString("en") + " of " : "");
}
const count = (before) => { $("count").textContent = before + counted(N); };
$("search").addEventListener("input", search);
$("search").addEventListener("keydown", (event) => {
  if (event.key === "Enter") document.querySelector("#found button")?.click();
  if (event.key === "ArrowDown") { document.querySelector("#found button")?.focus(); event.preventDefault(); }
});

// Selection: groups of sounds under a label, saved as the list that a recipe's --eval_clip takes.
function select(chosen) {
  state.selected = chosen;
  const list = document.querySelector("#selection ol");
  list.textContent = "";
  chosen.slice(0, 200).forEach((i) => list.append(item(i, facts(i))));
  $("chosen").textContent = chosen.length ? `${counted(chosen.length)} selected${chosen.length > 200 ? "; the first 200 are listed" : ""}.` : "Take the lasso and draw around sounds.";
  count(chosen.length ? chosen.length.toLocaleString("en") + " of " : "");
  if (chosen.length) tab("selection");
}
const fits = (i) => !S.paths[i].includes("\t");
function listed() {
  const n = state.lists.reduce((sum, group) => sum + group.sounds.length, 0);
  const tabs = new Set(state.lists.flatMap((group) => group.sounds).filter((i) => !fits(i))).size;
  $("listed").textContent = n ? `List: ${counted(n)}, ` + state.lists.map((g) => `${g.label} (${g.sounds.length})`).join(", ") +
    (tabs ? `; ${counted(tabs)} left out of the saved list, for a name with a tab does not fit into it` : "") : "";
  $("save").disabled = $("clear").disabled = !n;
}
$("add").addEventListener("click", () => {
  const sounds = state.selected.length ? state.selected : state.current >= 0 ? [state.current] : [];
  const label = $("label").value.replace(/[\t\r\n,]+/g, " ").trim() || "label" + (state.lists.length + 1);
  if (sounds.length) {
    const old = state.lists.find((group) => group.label === label);
    if (old) old.sounds = [...new Set([...old.sounds, ...sounds])];
    else state.lists.push({ label, sounds: [...sounds] });
  }
  $("label").value = "";
  listed();
});
$("clear").addEventListener("click", () => { state.lists = []; listed(); });
function tsv() {
  const seen = new Set(), lines = ["path\tlabel\tsplit"];
  for (const group of state.lists) {
    // Of every five, three to train, one to validate, one to test; of fewer each split gets one as far as they go.
    let k = 0;
    for (const i of group.sounds) {
      if (seen.has(i) || !fits(i)) continue;
      seen.add(i);
      lines.push([S.root + "/" + S.paths[i], group.label, ["train", "valid", "test", "train", "train"][k++ % 5]].join("\t"));
    }
  }
  return lines.join("\n") + "\n";
}
$("save").addEventListener("click", () => {
  const node = make("a");
  node.href = URL.createObjectURL(new Blob([tsv()], { type: "text/tab-separated-values" }));
  node.download = "selection.tsv";
  node.click();
  setTimeout(() => URL.revokeObjectURL(node.href), 1000);
});

// The map's events.
let waiting = 0;
function tip(event) {
  const i = event.points[0].pointIndex, node = $("tip"), box = $("mapside").getBoundingClientRect();
  paintThumb(node.firstElementChild, i, 192, 96);
  node.lastElementChild.textContent = fileOf(S.paths[i]);
  node.hidden = false;
  const x = event.event.clientX - box.left, y = event.event.clientY - box.top;
  node.style.left = Math.max(4, Math.min(x + 14, box.width - 222)) + "px";
  node.style.top = (y > 150 ? y - 130 : y + 18) + "px";
  if ($("hoverplay").checked) {
    clearTimeout(waiting);
    waiting = setTimeout(() => choose(i), 180);
  }
}
function mode(name) {
  Plotly.relayout("map", { dragmode: name });
  $("pan").setAttribute("aria-pressed", String(name === "pan"));
  $("lasso").setAttribute("aria-pressed", String(name === "lasso"));
}
$("pan").addEventListener("click", () => mode("pan"));
$("lasso").addEventListener("click", () => mode("lasso"));
$("reset").addEventListener("click", () => {
  highlight([]);
  select([]);
  Plotly.relayout("map", { "xaxis.range": [-0.04, 1.04], "yaxis.range": [-0.04, 1.04], selections: [] });
});

addEventListener("keydown", (event) => {
  if (event.target.matches("input, select, textarea")) {
    if (event.key === "Escape") { event.target.blur(); $("found").hidden = true; }
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const row = event.target.closest?.("li"), step = { ArrowDown: "nextElementSibling", ArrowUp: "previousElementSibling" }[event.key];
  if (event.key === "/") { $("search").focus(); event.preventDefault(); }
  else if (step && row) { row[step]?.querySelector("button")?.focus(); event.preventDefault(); }
  else if (event.key === " " && !event.target.matches("button, audio") && state.current >= 0) { player.paused ? player.play() : player.pause(); event.preventDefault(); }
  else if (event.key === "n" && state.current >= 0 && S.near[state.current].length) choose(S.near[state.current][0]);
  else if (event.key === "r") choose(Math.floor(Math.random() * N));
});
document.addEventListener("click", (event) => { if (!event.target.closest("#find")) $("found").hidden = true; });

async function start() {
  const name = S.root.split("/").pop() || S.root;
  $("title").textContent = document.title = name;
  for (const [key, c] of Object.entries(COLOURS)) {
    const option = make("option", "", c.title);
    option.value = key;
    $("colour").append(option);
  }
  $("colour").addEventListener("change", () => { state.colour = $("colour").value; state.off.clear(); repaint(); });
  const hours = S.seconds.reduce((sum, s) => sum + s, 0);
  $("foot").textContent = `${counted(N)}, ${hours > 3600 ? (hours / 3600).toFixed(1) + " h" : time(hours)} · model ${S.model}` +
    (S.leftOut ? ` · ${S.leftOut === 1 ? "1 file" : S.leftOut + " files"} could not be read (left_out.tsv)` : "") + " · keys: / search, space play, n nearest, r random";
  lists();
  await draw();
  const map = $("map");
  map.on("plotly_hover", tip);
  map.on("plotly_unhover", () => { $("tip").hidden = true; clearTimeout(waiting); });
  map.on("plotly_click", (event) => choose(event.points[0].pointIndex));
  map.on("plotly_selected", (event) => {
    if (event) select(event.points.filter((point) => point.curveNumber === 0).map((point) => point.pointIndex));
  });
  count("");
  document.body.dataset.ready = "true";
}
start();
