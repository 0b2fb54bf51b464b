// The page of one request: its output as it comes, then the whole of it; its log lines. The story beside them refreshes by itself.
"use strict";

const FINAL = ["SUCCEEDED", "FAILED", "CANCELED", "EXPIRED"];
const WHY_NO_OUTPUT = { FAILED: "the request has failed", CANCELED: "the request was canceled", EXPIRED: "the request has waited too long" };
const LOG_LINGER_MS = 5000; // the last lines of a log arrive after the end
const jobData = () => $("[data-job]").dataset;
const flow = new Flow($("#result"));
const logList = $("[data-log]"); // not there for a key that may read no logs
let shown = ""; // the status that the output was shown for
let lingers = false; // the request has just ended, and its log is still followed

function showOutput() {
  const known = { ...jobData() };
  if (known.status === shown) return;
  shown = known.status;
  if (FINAL.includes(known.status)) flow.end();
  if (known.status === "SUCCEEDED") showResult($("#result"), known);
  else if (FINAL.includes(known.status) && !flow.text) $("#result").replaceChildren(make("p", `There is none: ${WHY_NO_OUTPUT[known.status]}.`, "none"));
  if (!logList || !FINAL.includes(known.status)) return;
  lingers = true;
  setTimeout(() => { lingers = false; arrangeStreams(); }, LOG_LINGER_MS);
}

function jobEvents() {
  const events = new EventSource(`/ui/api/async_request/${jobData().job}/events`);
  flow.clear(); // it tells everything from the beginning
  events.addEventListener("open", () => link("live"));
  events.addEventListener("output", (event) => flow.add(event.data));
  events.addEventListener("truncated", () => flow.add("\n[the rest comes with the result]"));
  events.addEventListener("status", (event) => {
    if (JSON.parse(event.data).status === "IN_PROGRESS") flow.clear(); // another attempt begins anew
    refreshSoon();
  });
  events.addEventListener("progress", refreshSoon);
  events.addEventListener("done", () => { events.close(); refreshSoon(); });
  events.addEventListener("error", () => { if (events.readyState !== EventSource.CLOSED) link("lost"); refreshSoon(); });
  return events;
}

// A browser has six connections for a server, so a page holds no stream that its request does not need now.
const KINDS = { pulse, events: jobEvents, log: () => followLog(logList) };
const streaming = {};
const refused = new Set(); // kinds that the server has refused; each is tried again

function wantedKinds() {
  if (document.hidden) return [];
  const { status } = jobData();
  if (FINAL.includes(status)) return lingers ? ["pulse", "log"] : ["pulse"];
  const pulses = status === "QUEUED" || refused.has("events");
  return [...(pulses ? ["pulse"] : []), "events", ...(logList && status !== "QUEUED" ? ["log"] : [])];
}

// The stream, which is opened again after REOPEN_MS if the server refuses it.
function reopenedWhenRefused(kind, events) {
  whenRefused(events, () => {
    if (streaming[kind] !== events) return;
    delete streaming[kind];
    refused.add(kind);
    arrangeStreams();
    setTimeout(() => { refused.delete(kind); arrangeStreams(); }, REOPEN_MS);
  });
  return events;
}

function arrangeStreams() {
  const now = wantedKinds().filter((kind) => !refused.has(kind));
  for (const [kind, start] of Object.entries(KINDS)) {
    if (now.includes(kind)) streaming[kind] ??= reopenedWhenRefused(kind, start());
    else {
      streaming[kind]?.close();
      delete streaming[kind];
    }
  }
}

function streams() {
  showOutput();
  arrangeStreams();
  document.addEventListener("htmx:afterSwap", () => { showOutput(); arrangeStreams(); });
  document.addEventListener("visibilitychange", () => { arrangeStreams(); if (!document.hidden) refresh(); });
  addEventListener("pagehide", () => Object.values(streaming).forEach((events) => events.close()));
}
