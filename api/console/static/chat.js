// A conversation by /v1/chat/completions. It lives in this page alone.
"use strict";

const form = $("#chat"), talk = $("#talk"), stop = $("#stop");
const LONGEST_ANSWER = 400000; // characters; a longer one is stopped, because it would fill the browser
const NEAR_THE_LAST = 120; // pixels from the end of the conversation: who is that near follows the answer
let messages = []; // as the API wants them
let running = null;

// Adds what somebody says, and gives the element of the words.
function bubble(role, text) {
  const box = make("article", "", `said-${role}`), words = make("div", text, "words");
  box.append(make("small", { user: "You", assistant: form.dataset.name, error: "It did not work" }[role]), words);
  talk.querySelector(".none")?.remove();
  talk.append(box);
  talk.scrollTop = talk.scrollHeight;
  return words;
}

// The name that the deployment answers to.
const served = () => form.deployment.selectedOptions[0]?.dataset.model ?? form.dataset.name;

// The body of the call.
function asked() {
  const system = form.system.value.trim();
  const body = { model: served(), messages: [...(system ? [{ role: "system", content: system }] : []), ...messages], stream: true };
  if (form.temperature.value !== "") body.temperature = Number(form.temperature.value);
  if (form.max_tokens.value !== "") body.max_tokens = Number(form.max_tokens.value);
  return body;
}

async function send() {
  const text = form.message.value;
  if (!text.trim() || running) return;
  const mine = messages; // another conversation may begin meanwhile
  mine.push({ role: "user", content: text });
  bubble("user", text);
  form.message.value = "";
  running = new AbortController();
  stop.hidden = false;
  $("#send").disabled = true;
  const words = bubble("assistant", "");
  words.setAttribute("aria-busy", "true");
  let answer = "";
  try {
    await stream((piece) => { answer += piece; words.textContent = answer; keepDown(); });
  } catch (error) {
    if (error.name !== "AbortError") bubble("error", error.message);
    else words.after(make("small", "stopped"));
  } finally {
    words.removeAttribute("aria-busy");
    if (answer) mine.push({ role: "assistant", content: answer });
    else {
      words.parentElement.remove();
      mine.pop(); // it was not answered, so it can be sent again
      if (mine === messages && !form.message.value) form.message.value = text;
    }
    stop.hidden = true;
    $("#send").disabled = false;
    running = null;
    form.message.focus();
    code();
  }
}

// Scrolls to the end for who is near it.
function keepDown() {
  if (talk.scrollHeight - talk.scrollTop - talk.clientHeight < NEAR_THE_LAST) talk.scrollTop = talk.scrollHeight;
}

// Makes the call, and tells each piece of the answer as it comes.
async function stream(told) {
  const address = `/ui/api/models/${form.dataset.model}/deployment/${form.deployment.value}/sync/v1/chat/completions`;
  const headers = { "X-Kingpost-Csrf": csrf, "Content-Type": "application/json" };
  const answer = await fetch(address, { method: "POST", headers, body: JSON.stringify(asked()), signal: running.signal });
  if (!answer.ok) throw new Error(errorIn(await answer.text()));
  // A generator of a model.py may come as text/event-stream or as octets.
  if (typeOf(answer.headers.get("content-type")) === "application/json") return told(JSON.parse(await answer.text()).choices[0].message.content ?? "");
  const decoder = new TextDecoder(), reader = answer.body.getReader();
  let held = "", length = 0;
  for (;;) {
    const { done, value } = await reader.read();
    held += decoder.decode(value ?? new Uint8Array(), { stream: !done });
    const lines = held.split(/\r\n|\n|\r/);
    held = done ? "" : lines.pop();
    for (const line of lines) {
      if (!line.startsWith("data:")) continue;
      const data = line.slice(5).trim();
      if (data === "[DONE]") return;
      const said = JSON.parse(data);
      if (said.error) throw new Error(typeof said.error === "string" ? said.error : said.error.message ?? data);
      const piece = said.choices?.[0]?.delta?.content ?? "";
      length += piece.length;
      if (piece) told(piece);
    }
    if (done) return;
    if (length > LONGEST_ANSWER || held.length > LONGEST_ANSWER) {
      running.abort();
      throw new Error("The answer is too long for a page, so it was stopped.");
    }
  }
}

// Shows the same conversation in Python.
function code() {
  const { stream: _, ...body } = asked();
  const literal = (value) => JSON.stringify(value); // texts and numbers are written alike
  const base = `${location.origin}/models/${encodeURIComponent(form.dataset.name)}/deployment/${form.deployment.value}/sync/v1`;
  const end = body.messages.findLastIndex((message) => message.role === "user") + 1;
  const given = end ? body.messages.slice(0, end) : [...body.messages, { role: "user", content: "Hello" }];
  const lines = given.map((message) => `        {"role": ${literal(message.role)}, "content": ${literal(message.content)}},`);
  const more = ["temperature", "max_tokens"].filter((name) => name in body).map((name) => `    ${name}=${body[name]},`);
  $("#openai").textContent = ["import os", "", "from openai import OpenAI", "", `client = OpenAI(base_url=${literal(base)}, api_key=os.environ["KINGPOST_API_KEY"])`,
    "answer = client.chat.completions.create(", `    model=${literal(body.model)},`, "    messages=[", ...lines, "    ],", ...more, "    stream=True,", ")",
    "for chunk in answer:", '    print(chunk.choices[0].delta.content or "", end="", flush=True)'].join("\n");
}

form.addEventListener("submit", (event) => { event.preventDefault(); send(); });
form.message.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); send(); }
});
form.addEventListener("change", code);
stop.addEventListener("click", () => running?.abort());
$("#anew").addEventListener("click", () => {
  running?.abort();
  messages = [];
  talk.replaceChildren(make("p", "A new conversation.", "none"));
  code();
  form.message.focus();
});
document.addEventListener("DOMContentLoaded", code);
