// lightforce: the studio's page. docs/STUDIO.md has the messages.
// SPDX-License-Identifier: LGPL-2.1-or-later
"use strict";

const $ = (id) => document.getElementById(id);
const KEEP = 60; // chunks in the pictures
const RETRY_MS = [500, 1000, 2000, 5000];

let socket = null, peer = null, retries = 0, nextId = 1;
let state = null, chunks = [], pointed = null, recorded = "", walk = -1, draft = "";
const typed = new Set(); // fields with text that is not applied yet

// ------------------------------------------------------------------ connection

function send(message) {
  if (socket === null || socket.readyState !== WebSocket.OPEN)
    return 0;
  message.id = nextId++;
  socket.send(JSON.stringify(message));
  return message.id;
}

function set(members) {
  $("message").textContent = "";
  return send({type: "set", ...members});
}

function setStatus(text, bad) {
  $("status").textContent = text;
  $("status").classList.toggle("bad", Boolean(bad));
}

function connect() {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  const url = new URL("api", location.href);

  url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  url.hash = "";
  url.search = token ? "?token=" + encodeURIComponent(token) : "";
  socket = new WebSocket(url);
  socket.onopen = () => { retries = 0; setStatus("connected"); watch(); };
  socket.onmessage = (event) => {
    const message = JSON.parse(event.data);
    if (Object.hasOwn(handlers, message.type))
      handlers[message.type](message);
  };
  socket.onclose = () => {
    stopWatching();
    setStatus(token === null && retries > 1 ? "no connection; is a token missing in the address?"
      : "no connection", true);
    setTimeout(connect, RETRY_MS[Math.min(retries++, RETRY_MS.length - 1)]);
  };
}

function stopWatching() {
  if (peer !== null)
    peer.close();
  peer = null;
}

async function watch() {
  stopWatching();
  const mine = peer = new RTCPeerConnection();
  const {receiver} = mine.addTransceiver("video", {direction: "recvonly"});
  if ("jitterBufferTarget" in receiver)
    receiver.jitterBufferTarget = 0;
  mine.ontrack = (event) => {
    $("video").srcObject = new MediaStream([event.track]);
    $("video").play().catch(() => {});
  };
  mine.onconnectionstatechange = () => {
    if (mine !== peer)
      return;
    if (mine.connectionState === "connected")
      setStatus("live");
    if (mine.connectionState === "failed")
      again("the video's connection failed");
  };
  try {
    await mine.setLocalDescription();
    if (mine === peer)
      send({type: "watch", sdp: mine.localDescription.sdp});
  } catch (error) {
    setStatus("no video: " + error.message, true);
  }
}

function again(why) {
  stopWatching();
  setStatus(why, true);
  setTimeout(() => {
    if (peer === null && socket.readyState === WebSocket.OPEN)
      watch();
  }, 2000);
}

const handlers = {
  answer(message) {
    const mine = peer;
    if (mine !== null)
      mine.setRemoteDescription({type: "answer", sdp: message.sdp})
        .catch((error) => again("no video: " + error.message));
  },
  gone(message) { again(message.message); },
  state: showState,
  prompt(message) {
    showShown(message.prompt);
  },
  chunk(message) {
    const last = chunks.at(-1);
    if (last && message.frame <= last.frame)
      chunks = chunks.filter((chunk) => chunk.frame < message.frame);
    chunks.push(message);
    chunks = chunks.slice(-KEEP);
    draw();
  },
  stats: showStats,
  recorded(message) {
    recorded = message.error ? `${message.path}: ${message.error}`
      : `${message.path} (${(message.bytes / 1e6).toFixed(1)} MB)`;
    $("recording").textContent = recorded;
  },
  error(message) { $("message").textContent = message.message; },
  warning(message) { $("message").textContent = message.message; },
  ended(message) { $("message").textContent = message.message || "the video has ended"; },
};

// ----------------------------------------------------------------------- state

function percent(share) { return (100 * share).toFixed(0) + " %"; }

// A field that is being edited keeps what is in it.
function fill(id, value) {
  if (document.activeElement !== $(id))
    $(id).value = value;
}

// So does one with text that is not applied yet, until another value of that very member comes.
function fillText(id, value, before) {
  if ($(id).value === value)
    typed.delete(id);
  if (document.activeElement === $(id) || (typed.has(id) && value === before))
    return;
  $(id).value = value;
  typed.delete(id);
}

function fillNumbers(id, count, value, none) {
  const select = $(id);
  if (select.length !== count + (none ? 1 : 0)) {
    select.replaceChildren();
    if (none)
      select.add(new Option("off", "-1"));
    for (let i = 0; i < count; i++)
      select.add(new Option(String(i), String(i)));
  }
  select.value = String(value);
}

function showShown(prompt) {
  const wanted = state ? state.prompt : prompt;
  if (prompt === null)
    $("shown").textContent = "the first pictures are being made";
  else if (prompt === wanted)
    $("shown").textContent = "shows: " + (prompt || "no prompt");
  else
    $("shown").textContent = `still shows: ${prompt || "no prompt"} (within ` +
      `${state["prompt-chunks"]} chunks, ` +
      `${(state["prompt-chunks"] * chunkSeconds()).toFixed(1)} s, it changes)`;
}

function showHistory(history) {
  const list = $("history");
  const old = [...list.querySelectorAll("button")].map((button) => button.textContent);
  if (JSON.stringify(old) === JSON.stringify(history))
    return;
  list.replaceChildren(...history.map((prompt) => {
    const item = document.createElement("li"), button = document.createElement("button");
    button.type = "button";
    button.textContent = prompt;
    button.onclick = () => { $("prompt").value = prompt; applyPrompt(); };
    item.append(button);
    return item;
  }));
}

function showState(message) {
  const before = state;
  state = message;
  const {model} = state;
  $("model").textContent = `${model.name}, ${model.width} x ${model.height}, ` +
    `${model.framerate} pictures a second, ${model.backend}`;
  $("video").style.aspectRatio = `${model.width} / ${model.height}`;
  if (before === null)
    $("prompt").value = state.prompt;
  fillText("prompt", state.prompt, before?.prompt);
  fillText("seed", state.seed, before?.seed);
  fill("switch", state["prompt-switch"]);
  fill("sparsity", state.sparsity ?? model.sparsity);
  $("sparsity-value").textContent = state.sparsity === null
    ? `${percent(model.sparsity)}, the model's` : percent(state.sparsity);
  $("dense").checked = state.attention === "dense";
  $("sparsity").disabled = $("dense").checked;
  fillNumbers("layer", model.layers, state["probe-layer"], true);
  fillNumbers("head", model.heads, state["probe-head"], false);
  showShown(state.shown);
  showHistory(state.history);
  showRecording();
  draw();
}

function showRecording() {
  const on = state.recording !== null && !state.finishing;
  $("record").setAttribute("aria-pressed", String(on));
  $("record").textContent = on ? "Stop" : "Record";
  $("record").disabled = state.finishing;
  $("badge").hidden = !on;
  $("recording").textContent = state.finishing ? "completing " + state.recording
    : state.recording ?? recorded;
}

function showStats(message) {
  const mega = (bytes) => (bytes / 1048576).toFixed(0) + " MiB";
  const ratio = message["generation-ratio"];
  const rows = {
    "speed": ratio > 0 ? (1 / ratio).toFixed(2) + " times real time" : "",
    "chunks": message.chunks,
    "pictures shown": message.shown,
    "shown again": message.repeated,
    "chunks waiting": message["queue-level"],
    "memory": `${mega(message["weights-bytes"])} weights, ${mega(message["state-bytes"])} cache, ` +
      `${mega(message["scratch-bytes"])} scratch`,
    "pages": `${message.clients}, ${message.viewers} with video`,
  };
  $("stats").replaceChildren(...Object.entries(rows).flatMap(([name, value]) => {
    const dt = document.createElement("dt"), dd = document.createElement("dd");
    dt.textContent = name;
    dd.textContent = value;
    return [dt, dd];
  }));
}

// -------------------------------------------------------------------- pictures

function chunkSeconds() {
  return state ? state.model["chunk-pictures"] / state.model.framerate : 0.75;
}

function prepare(canvas) {
  const scale = window.devicePixelRatio || 1;
  const width = Math.max(1, canvas.clientWidth), height = Math.max(1, canvas.clientHeight);
  canvas.width = width * scale;
  canvas.height = height * scale;
  const context = canvas.getContext("2d");
  context.scale(scale, scale);
  return {context, width, height};
}

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

// The chunk that the text is about: the one that is pointed at, else the latest.
function current() {
  return chunks.find((chunk) => chunk.frame === pointed) ?? chunks.at(-1);
}

function drawTimeline() {
  const {context, width, height} = prepare($("timeline"));
  const step = width / KEEP, due = chunkSeconds();
  const top = Math.max(1.3 * due, ...chunks.map((chunk) => chunk["made-us"] / 1e6));
  const y = (seconds) => height - seconds / top * (height - 4);
  chunks.forEach((chunk, i) => {
    const seconds = chunk["made-us"] / 1e6;
    context.fillStyle = colour(seconds > due ? "--late" : "--bar");
    context.globalAlpha = chunk === current() ? 1 : 0.75;
    context.fillRect(i * step + 1, y(seconds), step - 2, height - y(seconds));
  });
  context.globalAlpha = 1;
  context.strokeStyle = colour("--soft");
  context.setLineDash([4, 3]);
  context.beginPath();
  context.moveTo(0, y(due));
  context.lineTo(width, y(due));
  context.stroke();
  // sparsity, 0 at the bottom to 1 at the top
  context.setLineDash([]);
  context.strokeStyle = colour("--text");
  context.lineWidth = 1.5;
  context.beginPath();
  chunks.forEach((chunk, i) => context.lineTo((i + 0.5) * step, (1 - chunk.sparsity) * (height - 4) + 2));
  context.stroke();
}

function drawMap() {
  const {context, width, height} = prepare($("map"));
  const step = width / KEEP;
  const rows = Math.max(1, ...chunks.map((chunk) => chunk.selection?.frames.length ?? 0));
  const tall = height / rows;
  context.fillStyle = colour("--back");
  context.fillRect(0, 0, width, height);
  chunks.forEach((chunk, i) => {
    if (!chunk.selection)
      return;
    const {shares, past} = chunk.selection;
    shares.forEach((share, j) => {
      context.fillStyle = colour(j < past ? "--bar" : "--soft");
      context.globalAlpha = share === 0 ? 0.06 : 0.15 + 0.85 * share;
      context.fillRect(i * step + 1, j * tall + 1, step - 2, tall - 2);
    });
    context.globalAlpha = 1;
    if (chunk === current()) {
      context.strokeStyle = colour("--text");
      context.strokeRect(i * step + 0.5, 0.5, step - 1, shares.length * tall - 1);
    }
  });
}

function describe(chunk) {
  const ms = (us) => (us / 1000).toFixed(0) + " ms";
  return `chunk ${chunk.chunk}: ${ms(chunk["made-us"])} (transformer ${ms(chunk["generate-us"])}, ` +
    `decoder ${ms(chunk["decode-us"])}), sparsity ${percent(chunk.sparsity)}, seed ${chunk.seed}`;
}

// For screen readers, which say each new value of what has the focus.
function tellChosen() {
  const values = {now: chunks.indexOf(current()) + 1, max: chunks.length, text: describe(current())};
  for (const [name, value] of Object.entries(values))
    $("timeline").setAttribute("aria-value" + name, value);
}

function draw() {
  drawTimeline();
  drawMap();
  const chunk = current();
  if (!chunk)
    return;
  $("chunk").textContent = `${describe(chunk)}. Solid: sparsity; dashed: real time, ` +
    `${(1000 * chunkSeconds()).toFixed(0)} ms a chunk`;
  // with the focus, only what keys choose is said, not each chunk that comes
  if (document.activeElement !== $("timeline"))
    tellChosen();
  const {selection} = chunk;
  if (state && state["probe-layer"] < 0)
    $("choice").textContent = "choose a layer to see which past frames its attention reads";
  else if (!selection)
    $("choice").textContent = `chunk ${chunk.chunk}: all keys, or made before the layer was chosen`;
  else
    $("choice").textContent = `chunk ${chunk.chunk}, layer ${selection.layer}, head ` +
      `${selection.head}, oldest frame on top, share of blocks read: ` +
      selection.frames.map((frame, i) =>
        `${frame}${i < selection.past ? "" : " (own)"} ${percent(selection.shares[i])}`).join(", ");
}

// -------------------------------------------------------------------- controls

function applyPrompt() {
  walk = -1;
  if (!set({prompt: $("prompt").value}))
    $("message").textContent = "not sent: there is no connection";
}

function restart(seed) {
  set({seed: String(seed), restart: true});
}

function randomSeed() {
  return crypto.getRandomValues(new Uint32Array(1))[0];
}

function setSparsity(value) {
  set({sparsity: Math.min(0.95, Math.max(0, Math.round(value * 20) / 20)), attention: "auto"});
}

function toggleRecording() {
  if (state && !state.finishing)
    send({type: "record", on: state.recording === null, format: $("format").value});
}

function next(id) {
  const select = $(id);
  select.selectedIndex = (select.selectedIndex + 1) % select.length;
  select.dispatchEvent(new Event("change"));
}

// Earlier prompts, as shells have them.
function walkHistory(by) {
  const history = state ? state.history : [];
  if (walk < 0)
    draft = $("prompt").value;
  walk = Math.max(-1, Math.min(history.length - 1, walk + by));
  $("prompt").value = walk < 0 ? draft : history[walk];
  typed.add("prompt");
}

function point(by) {
  if (chunks.length === 0)
    return;
  const at = Math.max(0, Math.min(chunks.length - 1, chunks.indexOf(current()) + by));
  pointed = at === chunks.length - 1 ? null : chunks[at].frame;
  draw();
  tellChosen();
}

function pointAt(event) {
  const box = event.target.getBoundingClientRect();
  const chunk = chunks[Math.floor((event.clientX - box.left) / box.width * KEEP)];
  pointed = chunk && chunk !== chunks.at(-1) ? chunk.frame : null;
  draw();
}

const keys = {
  "/": () => { $("prompt").focus(); $("prompt").select(); },
  "r": toggleRecording,
  "n": () => restart($("seed").value),
  "d": () => restart(randomSeed()),
  "+": () => setSparsity(Number($("sparsity").value) + 0.05),
  "-": () => setSparsity(Number($("sparsity").value) - 0.05),
  "l": () => next("layer"),
  "h": () => next("head"),
  "f": () => document.fullscreenElement ? document.exitFullscreen() : $("video").requestFullscreen(),
  "?": () => $("help").showModal(),
};
const steps = {ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, Home: -KEEP, End: KEEP};

// Who dictates, or hits keys unintended, can turn them off. A browser that may keep nothing has them
// on again when the page is loaded.
function rememberKeys() {
  try {
    localStorage.setItem("lightforce-keys", $("keys-on").checked ? "on" : "off");
  } catch {
    // it may keep nothing
  }
}

function recallKeys() {
  try {
    $("keys-on").checked = localStorage.getItem("lightforce-keys") !== "off";
  } catch {
    // it may keep nothing
  }
}

document.addEventListener("keydown", (event) => {
  const typing = event.target.matches("input:not([type=checkbox]):not([type=range]), select");
  if (event.key === "Escape" && typing)
    event.target.blur();
  if (event.ctrlKey || event.metaKey || event.altKey || typing || $("help").open
      || !$("keys-on").checked)
    return;
  if (Object.hasOwn(keys, event.key)) {
    event.preventDefault();
    keys[event.key]();
  }
});

for (const id of ["prompt", "seed"])
  $(id).oninput = () => typed.add(id);
$("prompt-form").onsubmit = (event) => { event.preventDefault(); applyPrompt(); };
$("prompt").onkeydown = (event) => {
  if (event.key === "ArrowUp" || event.key === "ArrowDown") {
    event.preventDefault();
    walkHistory(event.key === "ArrowUp" ? 1 : -1);
  }
};
$("seed-form").onsubmit = (event) => { event.preventDefault(); restart($("seed").value); };
$("dice").onclick = () => { const seed = randomSeed(); $("seed").value = seed; restart(seed); };
$("switch").onchange = () => set({"prompt-switch": $("switch").value});
$("sparsity").onchange = () => setSparsity(Number($("sparsity").value));
$("sparsity").oninput = () => { $("sparsity-value").textContent = percent(Number($("sparsity").value)); };
$("sparsity-model").onclick = () => set({sparsity: null, attention: "auto"});
$("dense").onchange = () => set({attention: $("dense").checked ? "dense" : "auto"});
$("record").onclick = toggleRecording;
$("layer").onchange = () => set({"probe-layer": Number($("layer").value)});
$("head").onchange = () => set({"probe-head": Number($("head").value)});
$("help-button").onclick = () => $("help").showModal();
$("keys-on").onchange = rememberKeys;
$("timeline").onkeydown = (event) => {
  if (Object.hasOwn(steps, event.key)) {
    event.preventDefault();
    point(steps[event.key]);
  }
};
for (const id of ["timeline", "map"]) {
  $(id).onpointermove = pointAt;
  $(id).onpointerleave = () => { pointed = null; draw(); };
}
addEventListener("resize", draw);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
recallKeys();
connect();
