// The page of one request: its output as it comes, then the whole of it; its log lines. The story beside them refreshes by itself.
"use strict";

const FINAL = ["SUCCEEDED", "FAILED", "CANCELED", "EXPIRED"];
const WITHOUT = { FAILED: "the request has failed", CANCELED: "the request was canceled", EXPIRED: "the request has waited too long" };
const LINGER = 5000; // ms; the last lines of a log arrive after the end
const told = () => $("[data-job]").dataset;
const flow = new Flow($("#result"));
const list = $("[data-log]"); // not there for a key that may read no logs
let shown = ""; // the status that the output was shown for
let lingers = false;

function output() {
  const known = { ...told() };
  if (known.status === shown) return;
  shown = known.status;
  if (FINAL.includes(known.status)) flow.end();
  if (known.status === "SUCCEEDED") showResult($("#result"), known);
  else if (FINAL.includes(known.status) && !flow.text) $("#result").replaceChildren(make("p", `There is none: ${WITHOUT[known.status]}.`, "none"));
  if (!list || !FINAL.includes(known.status)) return;
  lingers = true;
  setTimeout(() => { lingers = false; arrange(); }, LINGER);
}

function jobEvents() {
  const events = new EventSource(`/ui/api/async_request/${told().job}/events`);
  flow.clear(); // it tells everything from the beginning
  events.addEventListener("open", () => link("live"));
  events.addEventListener("output", (event) => flow.add(event.data));
  events.addEventListener("truncated", () => flow.add("\n[the rest comes with the result]"));
  events.addEventListener("status", (event) => {
    if (JSON.parse(event.data).status === "IN_PROGRESS") flow.clear(); // another attempt begins anew
    soon();
  });
  events.addEventListener("progress", soon);
  events.addEventListener("done", () => { events.close(); soon(); });
  events.addEventListener("error", () => { if (events.readyState !== EventSource.CLOSED) link("lost"); soon(); });
  return events;
}

// A browser has six connections for a server, so a page holds no stream that its request does not need now.
const KINDS = { pulse, events: jobEvents, log: () => followLog(list) };
const streaming = {};
const refused = new Set(); // kinds that the server has refused; each is tried again

function wanted() {
  if (document.hidden) return [];
  const { status } = told();
  if (FINAL.includes(status)) return lingers ? ["pulse", "log"] : ["pulse"];
  const pulses = status === "QUEUED" || refused.has("events");
  return [...(pulses ? ["pulse"] : []), "events", ...(list && status !== "QUEUED" ? ["log"] : [])];
}

function opened(kind, events) {
  whenRefused(events, () => {
    if (streaming[kind] !== events) return;
    delete streaming[kind];
    refused.add(kind);
    arrange();
    setTimeout(() => { refused.delete(kind); arrange(); }, AGAIN);
  });
  return events;
}

function arrange() {
  const now = wanted().filter((kind) => !refused.has(kind));
  for (const [kind, start] of Object.entries(KINDS)) {
    if (now.includes(kind)) streaming[kind] ??= opened(kind, start());
    else {
      streaming[kind]?.close();
      delete streaming[kind];
    }
  }
}

function streams() {
  output();
  arrange();
  document.addEventListener("htmx:afterSwap", () => { output(); arrange(); });
  document.addEventListener("visibilitychange", () => { arrange(); if (!document.hidden) refresh(); });
  addEventListener("pagehide", () => Object.values(streaming).forEach((events) => events.close()));
}
