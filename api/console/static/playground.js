// The page that tries a model.
"use strict";

let running = null; // what Stop stops

async function run(form) {
  const wrong = $("#input-wrong"), result = $("#result"), text = form.input.value;
  wrong.hidden = true;
  let input;
  try { input = JSON.parse(text); } catch (error) {
    wrong.textContent = `The input is no JSON: ${error.message}`;
    wrong.hidden = false;
    form.input.focus();
    return;
  }
  const base = `/models/${form.dataset.model}/${form.deployment.value}`;
  const button = $("button", form), stop = $("#stop");
  button.disabled = true;
  running = new AbortController();
  stop.hidden = false;
  const began = performance.now();
  result.replaceChildren(make("p", "Running …"));
  try {
    if (form.how.value === "async") {
      const body = JSON.stringify({ model_input: input, priority: Number(form.priority.value) });
      const { request_id } = await call("POST", base + "/async_predict", body);
      location.assign("/ui/jobs/" + request_id);
      return;
    }
    await sync(base, text, result);
    const took = document.createElement("small");
    took.textContent = `${((performance.now() - began) / 1000).toFixed(2)} s`;
    result.append(took);
  } catch (error) {
    result.replaceChildren(make("p", error.name === "AbortError" ? "Stopped." : error.message, "wrong"));
  } finally {
    button.disabled = false;
    stop.hidden = true;
    running = null;
  }
}

async function sync(base, body, result) {
  const headers = { "X-Kingpost-Csrf": csrf, "Content-Type": "application/json" };
  const answer = await fetch(`/ui/api${base}/predict`, { method: "POST", headers, body, signal: running.signal });
  const kind = (answer.headers.get("content-type") ?? "").split(";")[0];
  if (!answer.ok) {
    const said = await answer.text();
    let words = said;
    try { words = JSON.parse(said).error ?? said; } catch { /* text */ }
    throw new Error(words);
  }
  if (/^(image\/(png|jpeg|gif|webp)|audio\/|video\/)/.test(kind)) return media(result, kind, await answer.blob());
  const shown = show(result, "pre", "");
  const decoder = new TextDecoder();
  const reader = answer.body.getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    text += decoder.decode(value, { stream: true });
    shown.textContent = text.slice(0, 200000);
  }
  if (kind !== "application/json") return;
  let value;
  try { value = JSON.parse(text); } catch { return; }
  shown.textContent = JSON.stringify(value, shortened, 2).slice(0, 200000);
  for (const picture of pictures(value)) {
    const image = document.createElement("img");
    image.src = picture;
    image.className = "output";
    image.alt = "A picture in the answer";
    result.prepend(image);
  }
}

function show(result, kind, text) {
  const element = document.createElement(kind);
  element.textContent = text;
  result.replaceChildren(element);
  return element;
}

function media(result, kind, blob) {
  const element = show(result, { image: "img", audio: "audio", video: "video" }[kind.split("/")[0]], "");
  element.src = URL.createObjectURL(blob);
  element.className = "output";
  if (element.tagName === "IMG") element.alt = "The answer of the model"; else element.controls = true;
}

const starts = { iVBORw0KGgo: "image/png", "/9j/": "image/jpeg", R0lGOD: "image/gif", UklGR: "image/webp" };

function shortened(_, value) {
  if (typeof value !== "string" || value.length < 200) return value;
  if (Object.keys(starts).some((start) => value.startsWith(start))) return `(a picture in base64, ${value.length} characters)`;
  return value.length > 5000 ? value.slice(0, 80) + ` … (${value.length} characters)` : value;
}

function pictures(value) {
  const found = [], waiting = [value];
  while (waiting.length && found.length < 12) {
    const next = waiting.shift();
    if (typeof next === "string") {
      const start = Object.keys(starts).find((start) => next.startsWith(start));
      if (start && next.length > 60) found.push(`data:${starts[start]};base64,${next}`);
    } else if (next && typeof next === "object") waiting.push(...Object.values(next).slice(0, 200));
  }
  return found;
}

document.addEventListener("click", (event) => { if (event.target.id === "stop") running?.abort(); });
document.addEventListener("submit", async (event) => {
  if (event.target.id !== "try") return;
  event.preventDefault();
  await run(event.target);
});

async function sync(base, body, result) {
  const headers = { "X-Kingpost-Csrf": csrf, "Content-Type": "application/json" };
  const answer = await fetch(`/ui/api${base}/predict`, { method: "POST", headers, body, signal: running.signal });
  const kind = typeOf(answer.headers.get("content-type"));
  if (!answer.ok) {
    const said = await answer.text();
    let words = said;
    try { words = JSON.parse(said).error ?? said; } catch { /* text */ }
    throw new Error(words);
  }
  if (MEDIA.test(kind)) return result.replaceChildren(media(kind, URL.createObjectURL(await answer.blob())));
  const flow = new Flow(result), decoder = new TextDecoder(), reader = answer.body.getReader();
  let text = "";
  result.replaceChildren();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    const piece = decoder.decode(value, { stream: true });
    text += piece;
    flow.add(piece);
  }
  result.replaceChildren(...elementsOf(kind, text));
}
