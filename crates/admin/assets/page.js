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
  return `live in generation ${live.generation}, ${live.took_ms} ms${over}`;
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
  dialog.showModal();
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
    const typing = main().contains(document.activeElement) && document.activeElement.matches("input:not([type=checkbox]), select");
    for (const id of ["banners", "generation"]) {
      const fresh = page.getElementById(id);
      if (fresh) document.getElementById(id)?.replaceWith(document.adoptNode(fresh));
    }
    // Nobody's half-written form is taken away: only the tables are exchanged then.
    if (typing) {
      const fresh = page.querySelectorAll("main table");
      [...document.querySelectorAll("main table")].forEach((table, at) => fresh[at] && table.replaceWith(document.adoptNode(fresh[at].cloneNode(true))));
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
  });
  return refreshing;
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
  else if (button.dataset.act === "logout") ask("DELETE", "/api/v1/session").then(() => location.assign("/admin/login"));
});

document.addEventListener("change", (event) => {
  const target = event.target;
  if (target.id === "all") { by(document, "#dids .one", (box) => { box.checked = target.checked; }); count(); }
  else if (target.classList.contains("one")) count();
  else if (target.name === "environment" && target.closest("#move-many")) preview();
});

setInterval(tick, 1000);
tick();
count();
if (document.body.dataset.generation !== undefined) {
  const events = new EventSource("/admin/events");
  events.addEventListener("changed", () => refresh());
}
