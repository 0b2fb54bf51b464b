// Log lines in a list, as they come. `data-log` is the query of /v1/logs.
"use strict";

const MOST_LINES = 500; // in a page; older ones go
const FIRST_LINES = 200; // that are there when a page opens
const TIME = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3, hour12: false });
const FULL_TIME = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const SHOWN_FIELDS = new Set(["ts", "timestamp", "level", "model", "model_id", "deployment", "deployment_id", "event", "message", "traceback", "exception", "request_id", "chain_request_id", "machine", "pid"]);

function lineOf(line) {
  const item = make("div", "", `l-${/^[a-z]+$/.test(line.level) ? line.level : "info"}`);
  if (line.request_id) item.classList.add("of-request");
  const at = new Date(line.at), time = make("time", TIME.format(at));
  time.title = FULL_TIME.format(at);
  item.append(time, " ");
  if (line.level !== "info") item.append(make("b", line.level), " ");
  const rest = Object.entries(line.fields).filter(([name, value]) => !SHOWN_FIELDS.has(name) && value !== "" && value !== null);
  item.append(line.message || "(no message)");
  if (rest.length) item.append(" ", make("small", rest.map(([name, value]) => `${name}=${typeof value === "string" ? value : JSON.stringify(value)}`).join(" ").slice(0, 500)));
  const trace = line.fields.traceback ?? line.fields.exception;
  if (trace) item.append(make("pre", String(trace)));
  return item;
}

function addLines(list, lines) {
  const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
  for (const line of lines) {
    if (list.dataset.last && !isAfter(line.id, list.dataset.last)) continue; // a stream that was opened anew
    list.dataset.last = line.id;
    list.querySelector(".none")?.remove();
    list.append(lineOf(line));
  }
  while (list.childElementCount > MOST_LINES) list.firstElementChild.remove();
  if (!list.childElementCount) list.append(make("div", list.dataset.empty ?? "No line yet.", "none"));
  if (atEnd) list.scrollTop = list.scrollHeight;
}

// Ids of lines are "MILLISECONDS-NUMBER", as those of a stream of the store.
function isAfter(id, last) {
  const [ms, number] = id.split("-").map(Number), [lastMs, lastNumber] = last.split("-").map(Number);
  return ms > lastMs || (ms === lastMs && number > lastNumber);
}

function followLog(list) {
  const events = new EventSource(`/ui/api/v1/logs/events?limit=${FIRST_LINES}&${list.dataset.log}`);
  let waiting = [];
  events.addEventListener("line", (event) => {
    if (!waiting.length) requestAnimationFrame(() => { addLines(list, waiting); waiting = []; });
    waiting.push(JSON.parse(event.data));
    if (waiting.length > MOST_LINES) waiting.shift();
  });
  events.addEventListener("open", () => addLines(list, []));
  events.addEventListener("error", () => { if (events.readyState === EventSource.CLOSED) readLog(list); }); // too many follow logs
  return events;
}

async function readLog(list) {
  try { addLines(list, (await call("GET", `/v1/logs?limit=${FIRST_LINES}&${list.dataset.log}`)).lines); }
  catch (error) { list.replaceChildren(make("div", error.message, "wrong")); }
}
