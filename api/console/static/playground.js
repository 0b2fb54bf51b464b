// The page that tries a model: its input as a form or as JSON, its answer beside it, and the code of the same call.
"use strict";

const form = $("#try"), fields = $("#fields"), place = $("#result");
const MOST_CODE = 2001; // characters of the input that the code is made of: it reads one of more than 2000 from a file
const MOST_ANSWER = 20000000; // bytes of text that the page reads
let fieldset = null; // the form of the chosen deployment's schema
let running = null; // what Stop stops
let isTouched = false; // whether somebody changed the form; if not, the text stays as it is

// --- the input

const target = () => `/models/${form.dataset.model}/deployment/${form.deployment.value}`;

// The input as text. What was typed as JSON stays as it is: a number of 20 digits is more than JavaScript can count.
function inputText() {
  if (form.way.value === "form") {
    const value = fieldset.read();
    return isTouched ? textOf(value) : form.input.value;
  }
  try { JSON.parse(form.input.value); } catch (error) {
    throw new Fault("", `The input is no JSON: ${error.message}`, form.input);
  }
  return form.input.value;
}

function wrong(error) {
  const line = $("#input-wrong");
  line.hidden = !error;
  line.textContent = error?.message ?? "";
  error?.element?.focus();
}

function toForm() {
  let value;
  try { value = valueOf(form.input.value); } catch (error) {
    form.way.value = "json";
    return wrong(new Fault("", `The input is no JSON: ${error.message}`, form.input));
  }
  if (value === null || typeof value !== "object" || Array.isArray(value)) {
    form.way.value = "json";
    return wrong(new Fault("", "The form is for an input that is an object.", form.input));
  }
  fieldset.write(value);
  isTouched = false;
  wrong();
  swap(true);
}

function toJson() {
  try {
    const value = fieldset.read();
    if (isTouched) form.input.value = textOf(value, 2);
  } catch (error) {
    form.way.value = "form";
    return wrong(error);
  }
  wrong();
  swap(false);
}

function swap(isForm) {
  fields.hidden = !isForm;
  $("#as-json").hidden = isForm;
  form.way.value = isForm ? "form" : "json";
}

async function readSchema() {
  const chosen = form.deployment.selectedOptions[0], said = $("#form-said"), [asForm] = form.way;
  if (fieldset && !fields.hidden) toJson();
  fieldset = null;
  asForm.disabled = true;
  swap(false);
  fields.replaceChildren();
  said.textContent = "";
  if (!chosen) return;
  if (!("ready" in chosen.dataset)) {
    said.textContent = "inactive" in chosen.dataset
      ? "It is deactivated: calls are refused until it is activated on the page of its model."
      : "No replica of it runs now; the first call wakes it.";
    return;
  }
  let known;
  try { known = await schemaOf(target()); } catch { known = {}; } // it declares none
  if (form.deployment.selectedOptions[0] !== chosen) return;
  if (known.supports_streaming === true && !("again" in form.dataset)) form.how.value = "stream";
  fieldset = known.input_schema ? formOf(known.input_schema) : null;
  if (!fieldset) {
    said.textContent = "It declares no input type, so there is no form.";
    return;
  }
  fields.replaceChildren(...fieldset.inside);
  asForm.disabled = false;
  toForm();
}

// The model answers, so its 401 is no end of the session.
async function schemaOf(target) {
  const answer = await fetch(`/ui/api${target}/sync/v1/models/model/schema`, { headers: { "X-Kingpost-Csrf": csrf } });
  return answer.ok ? answer.json() : {};
}

$("#attach").addEventListener("change", async (event) => {
  const [file] = event.target.files, line = $("#said");
  if (!file) return;
  try {
    const ref = await upload(file, (done, all) => note(`${file.name.slice(0, 60)}: ${Math.floor((100 * done) / all)} %`));
    form.input.setRangeText(JSON.stringify(ref), form.input.selectionStart, form.input.selectionEnd, "end");
    line.textContent = "";
    changed();
  } catch (error) { note(error.message, true); }
  event.target.value = "";
});

// --- the call

async function run() {
  let text;
  try { text = inputText(); } catch (error) { return wrong(error); }
  wrong();
  const button = $("button.strong", form), stop = $("#stop"), how = form.how.value;
  button.disabled = true;
  running = new AbortController();
  stop.hidden = false;
  told("Running …");
  place.replaceChildren();
  const began = performance.now();
  try {
    if (how === "async") await queued(text);
    else told(await atOnce(text, how), `${((performance.now() - began) / 1000).toFixed(2)} s`);
  } catch (error) {
    told("");
    const stopped = error.name === "AbortError";
    place.append(make("p", stopped ? "Stopped." : error.message, stopped ? "none" : "wrong"));
  } finally {
    stop.hidden = true;
    again(button);
    running = null;
  }
}

function told(...parts) {
  const line = $("#said");
  line.hidden = !parts[0];
  line.replaceChildren(...parts.filter(Boolean).flatMap((part) => [part, " "]));
}

async function atOnce(text, how) {
  const headers = { "X-Kingpost-Csrf": csrf, "Content-Type": "application/json" };
  if (how === "sync") headers.Accept = "application/json"; // a stream is then joined
  const answer = await fetch(`/ui/api${target()}/predict`, { method: "POST", headers, body: text, signal: running.signal });
  const kind = typeOf(answer.headers.get("content-type"));
  if (!answer.ok) throw new Error(errorIn(await answer.text()));
  const isText = kind.startsWith("text/") || kind.endsWith("json");
  if (MEDIA.test(kind)) return showBlob(kind, await answer.blob());
  const flow = new Flow(place);
  const { text: whole, pieces } = await followed(answer.body.getReader(), flow).finally(() => flow.end());
  if (whole === null) return showBlob(kind, new Blob(pieces, { type: await kindOfBytes(pieces, kind) }));
  place.replaceChildren(...elementsOf(isText ? kind : "text/plain", whole));
  return `${answer.status} ${kind}`;
}

// Bytes say nothing of what they are, so their first ones are looked at.
async function kindOfBytes(pieces, kind) {
  const head = new Uint8Array(await new Blob(pieces).slice(0, 60).arrayBuffer());
  return pictureType(btoa(String.fromCharCode(...head))) || kind;
}

function showBlob(said, blob) {
  const kind = blob.type || said;
  const address = URL.createObjectURL(blob), link = make("a", "Download");
  link.href = address;
  link.download = "output";
  const ways = make("p");
  ways.append(link, make("small", ` ${kind}, ${sizeOf(blob.size)}`));
  place.replaceChildren(...(MEDIA.test(kind) ? [media(kind, address)] : []), ways);
  return kind;
}

// An answer as it comes. A stream has no type, so it is text as long as it reads as text; `text` is null for other bytes.
async function followed(reader, flow) {
  const decoder = new TextDecoder("utf-8", { fatal: true }), pieces = [];
  let text = "", bytes = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (text !== null) {
      try {
        const piece = decoder.decode(value, { stream: !done });
        if (piece.includes("\0")) throw new TypeError("bytes");
        text += piece;
        flow.add(piece);
      } catch {
        text = null;
        flow.clear();
      }
    }
    if (done) return { text, pieces };
    pieces.push(value);
    bytes += value.length;
    if (bytes > MOST_ANSWER) {
      await reader.cancel();
      throw new Error("The answer is too long for a page; run it through the queue and download the result.");
    }
  }
}

async function queued(text) {
  const body = `{"model_input": ${text}, "priority": ${Number(form.priority.value)}, "output_files": true}`;
  const { request_id: job } = await call("POST", target() + "/async_predict", body);
  const cancel = () => call("DELETE", "/async_request/" + job).catch((error) => note(error.message, true));
  if (running.signal.aborted) { // while it was sent
    await cancel();
    throw new DOMException("", "AbortError");
  }
  const link = make("a", "Open the request"), state = make("span", "queued", "status s-queued");
  link.href = "/ui/jobs/" + job;
  told(state, link);
  const flow = new Flow(place), progress = make("progress");
  progress.max = 1;
  progress.setAttribute("aria-label", "Progress");
  await new Promise((done, failed) => {
    const events = new EventSource(`/ui/api/async_request/${job}/events`);
    const end = (how, ...why) => { events.close(); how(...why); };
    running.signal.addEventListener("abort", () => {
      cancel();
      end(failed, new DOMException("", "AbortError"));
    });
    events.addEventListener("status", (event) => {
      const { status } = JSON.parse(event.data);
      if (status === "IN_PROGRESS") flow.clear();
      state.textContent = status.toLowerCase().replace("_", " ");
      state.className = `status s-${status.toLowerCase()}`;
    });
    events.addEventListener("progress", (event) => {
      const said = JSON.parse(event.data);
      if (typeof said.fraction === "number") progress.value = said.fraction;
      told(state, progress, said.message ?? "", link);
    });
    events.addEventListener("output", (event) => flow.add(event.data));
    events.addEventListener("done", () => end(done));
    events.addEventListener("error", () => { if (events.readyState === EventSource.CLOSED) end(failed, new Error("The request cannot be followed; its page shows how it goes.")); });
  }).finally(() => flow.end());
  await ended(job, state, link);
}

async function ended(job, state, link) {
  const now = await call("GET", "/async_request/" + job);
  told(state, now.predict_ms != null ? `ran for ${(now.predict_ms / 1000).toFixed(2)} s` : "", link);
  if (!["SUCCEEDED", "WEBHOOK_FAILED"].includes(now.status)) {
    place.append(...(now.errors ?? []).map((error) => block(`${error.code}: ${error.message}`)));
    return;
  }
  const head = await fetch(`/ui/api/async_request/${job}/result`, { headers: { Range: "bytes=0-0" } });
  const bytes = head.headers.get("content-range")?.split("/")[1] ?? head.headers.get("content-length") ?? "0";
  await showResult(place, { job, kind: head.headers.get("content-type"), bytes });
}

// --- the code

let due = 0; // the timer that shows the code when nobody types
function changed() {
  form.priority.disabled = form.how.value !== "async"; // it is the level in the queue
  clearTimeout(due);
  due = setTimeout(showCode, 400);
}

async function showCode() {
  let text;
  try { text = inputText(); } catch { return; } // it is being typed
  text = [...text.slice(0, 2 * MOST_CODE)].slice(0, MOST_CODE).join("");
  const asked = { name: form.dataset.name, deployment: form.deployment.value, how: form.how.value, level: Number(form.priority.value), text };
  const headers = { "X-Kingpost-Csrf": csrf, "Content-Type": "application/json" };
  const answer = await fetch("/ui/code", { method: "POST", headers, body: JSON.stringify(asked) });
  if (!answer.ok) return;
  for (const [where, code] of Object.entries(await answer.json())) $(`[data-where="${where}"] pre`).textContent = code;
}

for (const kind of ["input", "change", "change-of-input"]) fields.addEventListener(kind, () => { isTouched = true; });
form.addEventListener("submit", (event) => { event.preventDefault(); run(); });
form.addEventListener("input", changed);
form.addEventListener("change-of-input", changed);
form.addEventListener("change", (event) => {
  if (event.target.name === "way") event.target.value === "form" ? toForm() : toJson();
  if (event.target.name === "deployment") readSchema();
  changed();
});
$("#stop").addEventListener("click", () => running?.abort());
$("#take-example")?.addEventListener("click", () => {
  form.input.value = form.dataset.example;
  if (!fields.hidden) toForm();
  changed();
});
document.addEventListener("DOMContentLoaded", () => readSchema().then(changed));
