// The console's behaviour: pages refresh when the server says so, and buttons call the REST API with the session's key.
"use strict";

const csrf = document.querySelector('meta[name="csrf"]')?.content ?? "";
const $ = (selector, within = document) => within.querySelector(selector);

// --- calls

async function call(method, address, body) {
  const headers = { "X-Kingpost-Csrf": csrf };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const answer = await fetch("/ui/api" + address, { method, headers, body, credentials: "same-origin" });
  if (answer.status === 401) location.assign("/ui/login?next=" + encodeURIComponent(location.pathname + location.search));
  const text = await answer.text();
  let said = text;
  try { said = JSON.parse(text); } catch { /* the answer is text */ }
  if (!answer.ok) throw new Error(said?.error?.message ?? said?.error ?? `The server answered ${answer.status}.`);
  return said;
}

function note(text, wrong = false) {
  const line = document.createElement("p");
  line.textContent = text;
  line.classList.toggle("wrong", wrong);
  $("#notes").append(line);
  setTimeout(() => line.remove(), wrong ? 15000 : 5000); // ms; an error takes longer to read
}

function ask(question) {
  const dialog = $("#ask");
  $("p", dialog).textContent = question;
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((done) => dialog.addEventListener("close", () => done(dialog.returnValue === "yes"), { once: true }));
}

// A page asks for its live part and sends the digest of what it shows. It gets nothing if that is still so. After a change that
// the server reported, it may get what was rendered for others. After a change of its own, it asks for the state of now.
let partSeen = null, wantsNow = true;

function refresh(number = null) {
  wantsNow ||= number === null;
  htmx.trigger(document.body, "refresh", { number });
}

document.addEventListener("htmx:configRequest", ({ detail }) => {
  const number = detail.triggeringEvent?.detail?.number;
  if (!wantsNow && number != null) detail.headers["X-Kingpost-Pulse"] = number;
  if (partSeen) detail.headers["X-Kingpost-Seen"] = partSeen;
  wantsNow = false;
});

// What somebody has opened, closed or filled in stays so when the page is brought up to date.
const touched = new WeakSet();
document.addEventListener("input", ({ target }) => touched.add(target));
document.addEventListener("click", ({ target }) => { if (target.closest("summary")) touched.add(target.closest("details")); });
Idiomorph.defaults.callbacks.beforeAttributeUpdated = (name, node) => !(["open", "value", "checked"].includes(name) && touched.has(node));

// --- buttons and forms that change something

async function act(element, body) {
  const { method, address, said } = element.dataset;
  if (element.dataset.ask && !(await ask(element.dataset.ask))) return;
  const button = element.matches("form") ? $("button", element) : element;
  button.disabled = true;
  try {
    const answer = said === "steps" ? await steps(address, {}, (now) => note(`${now.done} so far.`))
      : await call(method, address, body ?? element.dataset.body);
    if (said === "steps") answer.message = `${answer.done} done` + (answer.failed ? `, ${answer.failed} could not be.` : ".");
    if (said === "job") return location.assign("/ui/jobs/" + answer.request_id);
    if (said?.startsWith("/")) return location.assign(said); // what the page was about is gone
    if (said === "secret") showSecret(answer.key ?? answer.secret);
    if (said === "test") return showTest(answer);
    for (const field of element.elements ?? []) touched.delete(field); // the form is saved
    note(answer?.message ?? (said === "secret" ? "It is made." : said ?? "Done."));
    refresh();
  } catch (error) {
    note(error.message, true);
  } finally {
    again(button);
  }
}

// A button that has worked can be used again. Who pressed it by the keyboard goes on from there.
function again(button) {
  button.disabled = false;
  if (document.activeElement === document.body) button.focus();
}

// What came of the test of a webhook's receiver.
function showTest({ status, error, answer, milliseconds, body }) {
  const place = $("#tested"), [came, sent] = place.querySelectorAll("pre");
  $("p", place).textContent = error ? `It did not arrive: ${error}` : `The receiver answered ${status} after ${Math.round(milliseconds)} ms.`;
  $("p", place).classList.toggle("wrong", Boolean(error) || status >= 300);
  came.textContent = answer || "(nothing)";
  sent.textContent = body;
  place.hidden = false;
}

// A new key or secret, which is shown once.
function showSecret(text) {
  $("#secret pre").textContent = text;
  $("#secret").hidden = false;
}

// Browsers give a clipboard only to pages over HTTPS or of this machine; elsewhere the old command copies what is selected.
async function copy(shown) {
  try {
    if (navigator.clipboard) await navigator.clipboard.writeText(shown.textContent);
    else {
      getSelection().selectAllChildren(shown);
      if (!document.execCommand("copy")) throw new Error("not allowed");
    }
    note("Copied.");
  } catch (error) { note(`The browser does not copy it (${error.message}); select it.`, true); }
}

async function showInput(button) {
  try {
    const said = await call("GET", button.dataset.show);
    const shown = document.createElement("pre");
    shown.textContent = typeof said === "string" ? said : JSON.stringify(said, null, 2);
    shown.tabIndex = 0;
    button.parentElement.replaceChildren(shown);
    shown.focus();
  } catch (error) { note(error.message, true); }
}

// The fields of a form as the body of a call: `limits.max_running` is a member of `limits`, and `data-list` means names with commas.
function valuesOf(form) {
  const values = {};
  for (const field of form.elements) {
    if (!field.name || field.value === "") continue;
    const [name, member] = field.name.split(".");
    const value = field.type === "number" ? Number(field.value)
      : "list" in field.dataset ? field.value.split(",").map((part) => part.trim()).filter(Boolean) : field.value;
    if (member) (values[name] ??= {})[member] = value;
    else values[name] = value;
  }
  return values;
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  if (button.dataset.method) await act(button);
  else if ("logout" in button.dataset) {
    await fetch("/ui/logout", { method: "POST", headers: { "X-Kingpost-Csrf": csrf } });
    location.assign("/ui/login");
  } else if ("copy" in button.dataset) {
    await copy($("pre", button.parentElement));
  } else if (button.dataset.show) await showInput(button);
  else if (button.dataset.bulk) await bulk(button);
  else if (button.dataset.move) await move(button);
});

document.addEventListener("submit", async (event) => {
  const form = event.target;
  if ("json" in form.dataset) { event.preventDefault(); await act(form, JSON.stringify(valuesOf(form))); }
});

// Asks where a queued request is to move: to another level, or to another deployment of its model.
async function move(button) {
  const dialog = $("#move"), { move: id, level, model, deployment } = button.dataset;
  $("p", dialog).textContent = `Move the request ${id.slice(0, 8)} to`;
  for (const choice of dialog.querySelectorAll("menu button")) {
    const to = choice.dataset;
    choice.hidden = to.level === level || (to.model !== undefined && (to.model !== model || to.deployment === deployment));
  }
  dialog.returnValue = "";
  dialog.showModal();
  await new Promise((done) => dialog.addEventListener("close", done, { once: true }));
  button.focus();
  if (!dialog.returnValue) return;
  try {
    await call("PATCH", "/async_request/" + id, dialog.returnValue);
    note("Moved.");
    refresh();
  } catch (error) { note(error.message, true); }
}

// --- bulk operations: a count first, then step by step until the end

async function bulk(button) {
  const section = button.closest("[data-filter]");
  const wanted = JSON.parse(section.dataset.filter);
  const filter = { ...wanted };
  if (filter.status) filter.status = filter.status.split(",");
  if (filter.priority) filter.priority = Number(filter.priority);
  const kind = button.dataset.bulk;
  if (kind === "move") Object.assign(filter, whereTo());
  const said = $("#bulk-said");
  const address = "/v1/jobs/" + kind;
  button.disabled = true;
  try {
    said.textContent = "counting";
    const count = await steps(address, { ...filter, dry_run: true }, (now) => { said.textContent = `${now.matched} so far`; });
    said.textContent = "";
    const words = { cancel: "Cancel", retry: "Run again", move: "Move", purge: "Delete for good, with input and output," }[kind];
    if (!count.matched) return note("No request matches.");
    if (!(await ask(`${words} ${count.matched} ${count.matched === 1 ? "request" : "requests"}?`))) return;
    const done = await steps(address, filter, (now) => { said.textContent = `${now.done} of ${count.matched}`; });
    said.textContent = "";
    note(`${done.done} done` + (done.failed ? `, ${done.failed} could not be` : "") + ".");
    refresh();
  } catch (error) {
    said.textContent = "";
    note(error.message, true);
  } finally {
    again(button);
  }
}

// Where the requests move to: a level, or a deployment of the model that the filter names.
function whereTo() {
  const [kind, chosen] = $("#move-to").value.split(" ");
  return kind === "level" ? { to_priority: Number(chosen) } : { to_deployment: chosen };
}

// Repeats a bulk operation, of which each call does one step, until it is finished.
async function steps(address, body, told) {
  const operation = crypto.randomUUID?.().replaceAll("-", "") ?? Math.random().toString(16).slice(2);
  for (;;) {
    const now = await call("POST", address, JSON.stringify({ ...body, operation }));
    told(now);
    if (now.finished) return now;
  }
}

// --- what changes by itself

function localize() {
  const full = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
  for (const time of document.querySelectorAll("time[datetime]")) {
    const at = new Date(time.getAttribute("datetime"));
    const text = full.format(at);
    time.title = text;
    const words = "ago" in time.dataset ? ago((Date.now() - at) / 1000) : text;
    if (time.textContent !== words) time.textContent = words;
  }
}

// An option holds text alone, so its time is the last part of that.
function localizeOptions() {
  const short = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
  for (const option of document.querySelectorAll("option[data-at]")) option.textContent = option.textContent.replace(/[^,]* UTC$/, ` ${short.format(new Date(option.dataset.at))}`);
}

function ago(seconds) {
  if (seconds < 60) return `${Math.max(0, Math.round(seconds))} s ago`;
  if (seconds < 3600) return `${Math.round(seconds / 60)} min ago`;
  if (seconds < 172800) return `${Math.round(seconds / 3600)} h ago`;
  return `${Math.round(seconds / 86400)} days ago`;
}

// Shows whether the page hears of changes.
function link(state) {
  const element = $("#link");
  element.textContent = { live: "live", lost: "connection lost" }[state];
  element.className = state;
}

// A stream of events while somebody looks at the page: a browser has few connections, and hidden tabs need none.
function whileSeen(open) {
  let events = null;
  const start = () => {
    events?.close();
    const mine = events = document.hidden ? null : open();
    if (mine) whenRefused(mine, () => {
      refresh(); // without a session it leads to the login
      setTimeout(() => { if (events === mine) start(); }, REOPEN_MS);
    });
  };
  start();
  document.addEventListener("visibilitychange", start);
  addEventListener("pagehide", () => events?.close());
}

const REOPEN_MS = 5000; // until a stream that the server has refused is tried again

// A browser itself opens a stream again that was cut, but none that was refused.
function whenRefused(events, then) {
  events.addEventListener("error", () => { if (events.readyState === EventSource.CLOSED) then(); });
}

function pulse() {
  const events = new EventSource("/ui/pulse");
  events.addEventListener("open", () => { link("live"); refresh(); });
  events.addEventListener("message", (event) => refresh(event.data));
  events.addEventListener("error", () => link("lost"));
  return events;
}

let waiting = false; // a refresh comes soon: a model may report a hundred times a second
function refreshSoon() {
  if (waiting) return;
  waiting = true;
  setTimeout(() => { waiting = false; refresh(); }, 500);
}

document.addEventListener("htmx:afterSwap", localize); // in the same task: nobody sees the times of the server
document.addEventListener("htmx:afterOnLoad", ({ detail: { xhr } }) => {
  if (xhr.status !== 200 && xhr.status !== 204) return;
  partSeen = xhr.getResponseHeader("X-Kingpost-Seen") ?? partSeen;
  link("live");
});
document.addEventListener("htmx:responseError", () => link("lost"));
document.addEventListener("htmx:sendError", () => link("lost"));
document.addEventListener("DOMContentLoaded", () => {
  localize();
  localizeOptions();
  if (!csrf) return;
  setInterval(localize, 1000);
  if (typeof streams === "function") streams(); // a page that follows more than changes
  else whileSeen(pulse);
});
