// Updates a page without a reload.  The server draws everything.  This script asks again when an
// event comes, and replaces the parts that changed.
"use strict";

const ROOT = document.documentElement.dataset.root; // the path under which a proxy publishes us
const EVENTS = ROOT + "/api/v1/events";
const AT_LEAST_EVERY = 5000; // ms, also if no event comes
const WITHOUT_EVENTS = 1000; // ms, if events cannot be received
const PATIENCE = 10000;      // ms until a request is given up
const BUSY_AFTER = 500;      // ms until the page shows that it waits

const main = document.getElementById("main");
const rooms = document.getElementById("rooms");
const session = document.querySelector("[data-session]")?.dataset.session;
const AT_MOST_EVERY = rooms ? 200 : 1000; // ms between two requests
const REST = 2;              // pause before the next request, in times of the last one with its drawing
const REST_MOST = 500;       // ms

// ---------------------------------------------------------------- connection

const link = document.getElementById("link");
const lost = document.getElementById("lost");
let since = null; // when the connection to the worker was lost

function say(kind, text) {
  if (link.textContent !== text) link.textContent = text;
  link.className = "link " + kind;
}

function connected() {
  since = null;
  lost.hidden = true;
  document.body.classList.remove("stale");
  say("on", "live");
}

function disconnected() {
  if (since !== null) return;
  since = new Date();
  say("off", "not connected");
  lost.textContent = "Not connected to the worker since " + since.toISOString().slice(11, 19) +
    ". The page shows the state of that time. It continues when the worker answers.";
  lost.hidden = false;
  document.body.classList.add("stale");
}

// ---------------------------------------------------------------- requests

async function ask(url) {
  const busy = setTimeout(() => main.setAttribute("aria-busy", "true"), BUSY_AFTER);
  try {
    const answer = await fetch(url, {signal: AbortSignal.timeout(PATIENCE)});
    if (answer.redirected && new URL(answer.url).pathname === ROOT + "/signin") location.assign(answer.url);
    if (answer.status === 401) location.assign(ROOT + "/signin?to=" + encodeURIComponent(location.pathname + location.search));
    if (!answer.ok) throw new Error(answer.status);
    return answer;
  } finally {
    clearTimeout(busy);
    main.removeAttribute("aria-busy");
  }
}

let asking = false, again = false, earliest = 0, timer = 0;
let over = false; // the session has ended: nothing changes any more

function schedule(after) {
  const at = Math.max(Date.now() + after, earliest);
  if (asking) { again = again || after === 0; return; }
  clearTimeout(timer);
  timer = setTimeout(update, Math.max(0, at - Date.now()));
}

async function update() {
  if (document.hidden) return;
  asking = true;
  const asked = Date.now();
  try {
    await (rooms ? updateRooms() : updateRegions());
    connected();
    if (over) { source?.close(); say("", ""); return; }
  } catch {
    disconnected();
  }
  asking = false;
  const now = Date.now();
  earliest = Math.max(asked + AT_MOST_EVERY, now + Math.min(REST * (now - asked), REST_MOST));
  const soon = again;
  again = false;
  schedule(soon ? 0 : listening() && since === null ? AT_LEAST_EVERY : WITHOUT_EVENTS);
}

document.addEventListener("visibilitychange", () => { if (!document.hidden) schedule(0); });

// ---------------------------------------------------------------- events

let source = null;
const listening = () => source !== null && source.readyState === EventSource.OPEN;

function listen() {
  source = new EventSource(EVENTS);
  source.onopen = () => schedule(0);
  source.onmessage = (message) => {
    if (rooms || JSON.parse(message.data).session === session) schedule(0);
  };
  source.onerror = () => {
    if (source.readyState === EventSource.CLOSED) setTimeout(listen, 10000);
    schedule(0);
  };
}

// ---------------------------------------------------------------- now

function rowOf(html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  return template.content.firstElementChild;
}

async function updateRooms() {
  const body = rooms.tBodies[0];
  const answer = await ask(ROOT + "/now?since=" + encodeURIComponent(rooms.dataset.place));
  const news = await answer.json();
  const focused = document.activeElement?.closest?.("tr[data-key]")?.dataset.key;
  const known = new Map([...body.rows].map((row) => [row.dataset.key, row]));
  for (const [key, html] of Object.entries(news.rows)) {
    const row = rowOf(html), before = known.get(key);
    if (before) before.replaceWith(row); else row.classList.add("new");
    known.set(key, row);
    if (before && key === focused) row.querySelector("a").focus({preventScroll: true});
  }
  if (news.order) {
    const wanted = new Set(news.order);
    for (const [key, row] of known) if (!wanted.has(key)) row.remove();
    let place = body.firstElementChild;
    for (const key of news.order) {
      const row = known.get(key);
      if (row === place) place = place.nextElementSibling; else body.insertBefore(row, place);
    }
  }
  for (const [key, value] of Object.entries(news.figures)) {
    const cell = document.querySelector('[data-figure="' + key + '"]');
    const text = value.toLocaleString("en").replaceAll(",", "\u202f");
    if (cell.textContent !== text) cell.textContent = text;
    if (key === "weak") cell.parentElement.classList.toggle("weak", value > 0);
  }
  document.getElementById("empty").hidden = news.figures.rooms > 0;
  rooms.dataset.place = news.place;
  find();
  tick();
}

const field = document.getElementById("find");

function find() {
  const wanted = field.value.trim().toLowerCase();
  let shown = 0;
  for (const row of rooms.tBodies[0].rows) {
    const names = row.querySelectorAll("th, .face");
    row.hidden = wanted !== "" && ![...names].some((name) => (name.textContent + " " + (name.title || "")).toLowerCase().includes(wanted));
    shown += !row.hidden;
  }
  document.getElementById("nothing").hidden = shown > 0 || wanted === "" || !rooms.tBodies[0].rows.length;
  rooms.hidden = !rooms.tBodies[0].rows.length;
}

// ---------------------------------------------------------------- other pages

async function updateRegions() {
  const answer = await ask(location.pathname + location.search);
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const old of document.querySelectorAll("[data-live]")) {
    const region = fresh.getElementById(old.id);
    if (region) grow(old, region);
  }
  over = !("livePage" in fresh.body.dataset);
}

// Makes `old` equal to `fresh`.  Equal nodes are not touched, so focus, scrolling and open parts
// stay as they are.
function grow(old, fresh) {
  if (old.isEqualNode(fresh)) return;
  if (old.nodeName !== fresh.nodeName || old.nodeType !== Node.ELEMENT_NODE) {
    old.replaceWith(fresh);
    return;
  }
  for (const {name} of [...old.attributes]) if (!fresh.hasAttribute(name) && name !== "open") old.removeAttribute(name);
  for (const {name, value} of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  const olds = [...old.childNodes], news = [...fresh.childNodes];
  olds.slice(news.length).forEach((node) => node.remove());
  news.forEach((node, index) => index < olds.length ? grow(olds[index], node) : old.append(node));
}

// ---------------------------------------------------------------- recordings of agents

// The turn that is heard is marked; a click on the head of a turn plays from there.
function inStep(sound) {
  const start = Number(sound.dataset.start);
  sound.addEventListener("timeupdate", () => {
    const at = start + sound.currentTime;
    let heard = null;
    for (const turn of document.querySelectorAll(".turn[data-at]")) {
      if (Number(turn.dataset.at) <= at) heard = turn;
      turn.classList.remove("now");
    }
    heard?.classList.add("now");
    heard?.scrollIntoView({block: "nearest"});
  });
  document.getElementById("live-talk")?.addEventListener("click", (event) => {
    const turn = event.target.closest(".by")?.closest(".turn[data-at]");
    if (!turn) return;
    const at = Number(turn.dataset.at) - start;
    if (at < -1 || at > sound.duration) return; // of another run
    sound.currentTime = Math.max(0, at);
    sound.play().catch(() => {});
  });
}

for (const sound of document.querySelectorAll("audio[data-start]")) inStep(sound);

// ---------------------------------------------------------------- running times

function words(seconds) {
  const total = Math.max(0, Math.round(seconds)), two = (n) => String(n).padStart(2, "0");
  const m = Math.floor(total / 60) % 60, h = Math.floor(total / 3600) % 24, d = Math.floor(total / 86400);
  if (d) return d + " d " + two(h) + " h";
  if (h) return h + " h " + two(m) + " m";
  return m ? m + " m " + two(total % 60) + " s" : total + " s";
}

function tick() {
  if (since !== null) return;
  const now = Date.now();
  for (const one of document.querySelectorAll("[data-age]")) one.textContent = words((now - Date.parse(one.dataset.age)) / 1000);
  for (const one of document.querySelectorAll("[data-rate]")) {
    const {seconds, at, rate} = one.dataset;
    one.textContent = words(Number(seconds) + Number(rate) * Math.max(0, now / 1000 - Number(at)));
  }
}

if (rooms) {
  field.addEventListener("input", find);
  find();
  tick();
  setInterval(tick, 1000);
}
if (rooms || "livePage" in document.body.dataset) {
  say("", "connecting");
  if (rooms || session !== undefined) listen();
  schedule(0);
}
