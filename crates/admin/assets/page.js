// What the pages do beyond links and forms: writes through the API, countdowns, and the others' changes as they come.
"use strict";

const csrf = document.querySelector("meta[name=csrf]")?.content ?? "";
const main = () => document.getElementById("content");
const say = (text) => { const live = document.getElementById("live"); if (live) live.textContent = text; };
const by = (root, selector, each) => root.querySelectorAll(selector).forEach(each);

// One request to the API: the answer's body, or the problem that it is (RFC 9457).
async function ask(method, path, body, version) {
  const headers = { Accept: "application/json" };
  if (method !== "GET") headers["X-CSRF-Token"] = csrf;
  if (version !== undefined) headers["If-Match"] = version === "*" ? "*" : `"${version}"`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body), credentials: "same-origin" });
  } catch {
    return { good: false, detail: "the proxy does not answer" };
  }
  const text = await response.text();
  let value = {};
  try { value = text ? JSON.parse(text) : {}; } catch { value = { detail: text.slice(0, 200) }; }
  if (response.status === 401) location.assign(`/admin/login?next=${encodeURIComponent(location.pathname + location.search)}`);
  return { good: response.ok, status: response.status, value, detail: value.detail ?? `status ${response.status}` };
}

// What a write has become, in words.
function told(answer) {
  if (!answer.good) return answer.status === 409 ? `Not done: ${answer.detail}. Look again and repeat it.` : `Not done: ${answer.detail}`;
  const live = answer.value;
  if (live.generation === undefined) return live.pending ? `NOT live: ${live.pending}` : "done";
  const over = live.overruled_by ? `; overruled at present by a ${live.overruled_by}` : "";
  const calls = stillUp(live.still_up);
  return `live in generation ${live.generation}, ${live.took_ms} ms${over}${calls ? `; ${calls}` : ""}`;
}

// Calls by environment, in words: those that a move leaves where they are.
function stillUp(live) {
  return Object.entries(live ?? {}).map(([environment, count], at) => {
    const what = at ? "" : count === 1 ? " call still up" : " calls still up";
    return `${count}${what} in ${environment}`;
  }).join(", ");
}

function show(place, answer) {
  place.textContent = told(answer);
  place.className = `${place.tagName === "OUTPUT" ? "" : "answer "}${answer.good && !answer.value.pending ? "good" : "bad"}`;
}

// The fields of a form as a JSON body: empty ones are left out.
function fields(form) {
  const body = {};
  for (const [name, value] of new FormData(form)) if (value !== "") body[name] = name === "for_s" ? Number(value) : value;
  return body;
}

// Forms that write: the method in data-write, the path in data-path of the form or of the button.
async function write(form, button) {
  if (form.dataset.confirm && !window.confirm(form.dataset.confirm)) return;
  const method = form.dataset.write;
  let path = button?.dataset.path ?? form.dataset.path;
  const body = fields(form);
  if (method === "DELETE") path += `?${new URLSearchParams(body)}`;
  const answer = await ask(method, path, method === "DELETE" ? undefined : body, form.dataset.version);
  show(form.querySelector("output"), answer);
  if (answer.good) { say(told(answer)); form.reset(); await refresh(); }
}

// --- moving numbers

const rowOf = (element) => element.closest("tr[data-number]");
const selected = () => [...document.querySelectorAll("#dids .one:checked")].map(rowOf);

function openMove(button) {
  const row = rowOf(button);
  const dialog = document.getElementById("move");
  dialog.querySelector("form").reset();
  dialog.dataset.number = row.dataset.number;
  dialog.dataset.version = row.dataset.version;
  dialog.querySelector("[data-fill=shown]").textContent = row.dataset.shown;
  dialog.querySelector("[data-fill=environment]").textContent = row.dataset.environment;
  dialog.querySelector(".answer").textContent = "";
  dialog.querySelector("[data-end-lease]").hidden = row.dataset.leased === undefined;
  ready(dialog, "Choose an environment to see whether it knows the number.", "");
  dialog.showModal();
  showCalls(dialog);
}

// The number's calls that are up now, in the dialogue that may move it.
async function showCalls(dialog) {
  const number = dialog.dataset.number;
  const answer = await ask("GET", `/api/v1/dids/${encodeURIComponent(number)}`);
  if (dialog.dataset.number !== number) return;
  dialog.querySelector("[data-fill=live]").textContent = answer.good ? stillUp(answer.value.live_calls) || "none" : `not known: ${answer.detail}`;
}

function ready(dialog, text, tone) {
  const place = dialog.querySelector("[data-ready]");
  place.textContent = text;
  place.className = tone;
  dialog.querySelector("[data-ask-again]").hidden = tone === "";
}

// Would the chosen environment take the number's calls? Its PBX is asked for the number, and for one that nobody can have.
async function askReady(dialog) {
  const number = dialog.dataset.number;
  const chosen = () => dialog.querySelector("input[name=environment]:checked")?.value;
  const environment = chosen();
  if (!environment) return;
  ready(dialog, `Asking ${environment}…`, "");
  const answer = await ask("POST", `/api/v1/dids/${encodeURIComponent(number)}/readiness?${new URLSearchParams({ environment })}`);
  if (dialog.dataset.number !== number || chosen() !== environment) return;
  if (!answer.good) return ready(dialog, `Not asked: ${answer.detail}`, "bad");
  const found = answer.value;
  const target = (one) => `${one.peer}: ${one.outcome.replaceAll("_", " ")} (${one.status ?? "no answer"}, ${one.impossible_status ?? "no answer"} for ${found.impossible})`;
  const told = [found.told, ...found.targets.map(target)].join("; ");
  ready(dialog, `${told}.`, found.outcome === "ready" ? "good" : "bad");
}

function openMany() {
  const dialog = document.getElementById("move-many");
  dialog.querySelector("form").reset();
  dialog.querySelector(".answer").textContent = "";
  dialog.querySelector("[data-fill=count]").textContent = selected().length;
  preview();
  dialog.showModal();
}

function preview() {
  const dialog = document.getElementById("move-many");
  const then = dialog.querySelector("input[name=environment]:checked")?.value ?? "";
  const body = dialog.querySelector("[data-preview]");
  body.replaceChildren(...selected().map((row) => {
    const line = document.createElement("tr");
    line.dataset.number = row.dataset.number;
    line.dataset.version = row.dataset.version;
    const same = then && row.dataset.environment === then ? `${then} (as now)` : then;
    for (const [text, head] of [[row.dataset.shown, true], [row.dataset.environment], [same], [""]]) {
      const cell = document.createElement(head ? "th" : "td");
      if (head) cell.scope = "row";
      cell.textContent = text;
      line.append(cell);
    }
    return line;
  }));
}

const environmentPath = (number) => `/api/v1/dids/${encodeURIComponent(number)}/environment`;

async function moveOne(form) {
  const dialog = form.closest("dialog");
  const answer = await ask("PUT", environmentPath(dialog.dataset.number), fields(form), dialog.dataset.version);
  show(form.querySelector(".answer"), answer);
  say(told(answer));
  await refresh();
  const row = [...document.querySelectorAll("tr[data-number]")].find((one) => one.dataset.number === dialog.dataset.number);
  if (row) {
    dialog.dataset.version = row.dataset.version;
    dialog.querySelector("[data-fill=environment]").textContent = row.dataset.environment;
    dialog.querySelector("[data-end-lease]").hidden = row.dataset.leased === undefined;
  }
}

async function moveMany(form) {
  const body = fields(form);
  let moved = 0, failed = 0;
  for (const line of form.querySelectorAll("[data-preview] tr")) {
    const answer = await ask("PUT", environmentPath(line.dataset.number), body, line.dataset.version);
    line.lastElementChild.textContent = told(answer);
    if (answer.good) moved += 1; else failed += 1;
  }
  const place = form.querySelector(".answer");
  place.textContent = failed ? `${moved} moved, ${failed} not: see each row` : `${moved} moved`;
  place.className = `answer ${failed ? "bad" : "good"}`;
  await refresh();
}

async function endLease(button) {
  const dialog = button.closest("dialog");
  const form = dialog.querySelector("form");
  const reason = form.elements.reason;
  if (!reason.reportValidity()) return;
  const leases = await ask("GET", "/api/v1/leases");
  const lease = leases.good ? leases.value.leases.find((one) => one.number === dialog.dataset.number) : undefined;
  const place = form.querySelector(".answer");
  if (!lease) { show(place, leases.good ? { good: false, detail: "the lease has ended meanwhile" } : leases); return refresh(); }
  const answer = await ask("DELETE", `/api/v1/leases/${encodeURIComponent(lease.id)}?${new URLSearchParams({ reason: reason.value })}`);
  show(place, answer);
  await refresh();
}

// --- what others change

let refreshing = Promise.resolve();
function refresh() {
  refreshing = refreshing.then(async () => {
    const response = await fetch(location.href, { headers: { Accept: "text/html" }, credentials: "same-origin" }).catch(() => null);
    if (!response?.ok) return;
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    const chosen = new Set(selected().map((row) => row.dataset.number));
    const before = new Map([...document.querySelectorAll("tr[data-number]")].map((row) => [row.dataset.number, row.dataset.version]));
    const active = document.activeElement;
    const typing = main().contains(active) && active.matches("input:not([type=checkbox]), select");
    for (const id of ["banners", "generation"]) {
      const fresh = page.getElementById(id);
      if (fresh) document.getElementById(id)?.replaceWith(document.adoptNode(fresh));
    }
    // Nobody's half-written form is taken away: only the tables are exchanged then. What was told to pause stands still.
    if (paused) {
      paused.set("many", true);
    } else if (typing) {
      const fresh = page.querySelectorAll("main table");
      [...document.querySelectorAll("main table")].forEach((table, at) => {
        if (fresh[at] && !table.contains(active)) table.replaceWith(document.adoptNode(fresh[at].cloneNode(true)));
      });
    } else {
      const focused = document.activeElement?.closest?.("tr[data-number]")?.dataset.number;
      main().replaceChildren(...[...page.getElementById("content").childNodes].map((node) => document.adoptNode(node)));
      if (focused) [...document.querySelectorAll("tr[data-number]")].find((row) => row.dataset.number === focused)?.querySelector("[data-open]")?.focus();
    }
    by(document, "tr[data-number]", (row) => {
      if (chosen.has(row.dataset.number)) row.querySelector(".one").checked = true;
      if (before.has(row.dataset.number) && before.get(row.dataset.number) !== row.dataset.version) row.classList.add("changed");
    });
    count();
    tick();
    following();
  });
  return refreshing;
}

// --- calls as they come, change and end

// Calls that came while the page stands still, by their ids; null while it moves.
let paused = null;
let isConnected = true;

const callRow = (id) => document.querySelector(`#calls tr[data-call="${id}"]`);

// Exchanges a piece of a table for what the server has made of it, and leaves the focus where it was.
function exchange(old, fresh) {
  const holds = old.contains(document.activeElement);
  old.replaceWith(fresh);
  if (holds) fresh.querySelector("a")?.focus();
}

function made(html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  return template.content;
}

function showCall({ id, row }) {
  const table = document.getElementById("calls");
  if (!table || table.dataset.events === undefined) return;
  const old = callRow(id);
  if (!row) old?.remove();
  else {
    const fresh = made(row).firstElementChild;
    fresh.classList.add("changed");
    const rows = table.tBodies[0].rows;
    const newer = [...rows].findIndex((one) => Number(one.dataset.call) < id);
    if (old) exchange(old, fresh);
    else if (newer >= 0) rows[newer].before(fresh);
    else if (rows.length < Number(table.dataset.most)) table.tBodies[0].append(fresh);
    while (rows.length > Number(table.dataset.most)) rows[rows.length - 1].remove();
  }
  const isEmpty = table.tBodies[0].rows.length === 0;
  table.hidden = isEmpty;
  document.getElementById("no-call").hidden = !isEmpty;
}

function showDid({ number, cells }) {
  const row = [...document.querySelectorAll("#dids tr[data-shown]")].find((one) => one.dataset.shown === number);
  if (!row) return;
  const holder = document.createElement("table");
  holder.innerHTML = `<tbody><tr>${cells}</tr></tbody>`;
  by(holder, "td[data-cell]", (fresh) => {
    const old = row.querySelector(`td[data-cell=${fresh.dataset.cell}]`);
    if (old) exchange(old, fresh);
  });
}

function following() {
  const place = document.getElementById("following");
  const button = document.querySelector("[data-act=pause]");
  if (!place || !button) return;
  place.textContent = !isConnected ? "Stands still: no connection to the proxy." : paused ? "Paused." : "Follows calls as they come.";
  button.setAttribute("aria-pressed", String(paused !== null));
  button.textContent = paused ? "Go on" : "Pause";
}

function pause() {
  const kept = paused;
  paused = kept ? null : new Map();
  if (kept?.get("many")) refresh();
  else kept?.forEach(showCall);
  following();
}

// One stream for each page: a browser has six connections to one host.
function listen() {
  const calls = document.getElementById("calls")?.dataset.events;
  const path = calls !== undefined ? `/admin/calls/events?${calls}&` : document.getElementById("dids") ? "/admin/dids/events?" : "/admin/events?";
  const events = new EventSource(`${path}generation=${document.body.dataset.generation}`);
  events.addEventListener("changed", () => refresh());
  events.addEventListener("many", () => { if (paused) paused.set("many", true); else if (!document.hidden) refresh(); });
  events.addEventListener("call", (event) => {
    const call = JSON.parse(event.data);
    if (paused) paused.set(call.id, call); else showCall(call);
  });
  events.addEventListener("did", (event) => showDid(JSON.parse(event.data)));
  events.addEventListener("error", () => { isConnected = false; following(); });
  events.addEventListener("open", () => {
    // What happened meanwhile was told to nobody.
    if (!isConnected) refresh();
    isConnected = true;
    following();
  });
}

function count() {
  const many = selected().length;
  const button = document.getElementById("move-selected");
  if (!button) return;
  button.disabled = many === 0;
  document.getElementById("selected").textContent = many ? `${many} selected` : "none selected";
}

function tick() {
  by(document, "time[data-ends]", (time) => {
    const left = Math.max(0, Math.round((Number(time.dataset.ends) - Date.now()) / 1000));
    const parts = [Math.floor(left / 3600), Math.floor(left / 60) % 60, left % 60].map((part) => String(part).padStart(2, "0"));
    time.textContent = left ? `${parts.join(":")} left` : "ended";
  });
}

// --- one listener for each kind of event: rows come and go

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.dataset.write) { event.preventDefault(); write(form, event.submitter); }
  else if (form.dataset.move === "one") { event.preventDefault(); moveOne(form); }
  else if (form.dataset.move === "many") { event.preventDefault(); moveMany(form); }
});

document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  if (button.dataset.open === "move") openMove(button);
  else if (button.dataset.open === "move-many") openMany();
  else if ("close" in button.dataset) button.closest("dialog").close();
  else if ("endLease" in button.dataset) endLease(button);
  else if ("askAgain" in button.dataset) askReady(button.closest("dialog"));
  else if (button.dataset.act === "pause") pause();
  else if (button.dataset.act === "logout") ask("DELETE", "/api/v1/session").then(() => location.assign("/admin/login"));
});

document.addEventListener("change", (event) => {
  const target = event.target;
  if (target.id === "all") { by(document, "#dids .one", (box) => { box.checked = target.checked; }); count(); }
  else if (target.classList.contains("one")) count();
  else if (target.name === "environment" && target.closest("#move-many")) preview();
  else if (target.name === "environment" && target.closest("#move")) askReady(target.closest("#move"));
});

// What a page in the background left out.
document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });

setInterval(tick, 1000);
tick();
count();
if (document.body.dataset.generation !== undefined) listen();
// Its figures change all the time, and nobody is told of each.
if (document.getElementById("calls-now")) setInterval(() => { if (!document.hidden) refresh(); }, 5000);
