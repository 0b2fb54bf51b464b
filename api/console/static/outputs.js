// Shows what a model has answered by its type. Nothing of it becomes HTML: text is text, and only pictures, sounds and films are elements.
"use strict";

const MOST_TEXT = 200000; // characters in a page; the rest is a download
const MOST_SHOWN = 8000000; // bytes that a page asks for to show them
const MOST_MEDIA = 12; // pictures and files of one output
const MOST_SEARCHED = 200; // members of an object or list that are searched for pictures and files
const PLAIN_LENGTH = 200; // characters of a text in JSON that is shown as it is, whatever it holds
const LONGEST_LEAF = 20000; // characters; of a longer text the beginning is shown
const LEAF_BEGINNING = 80; // characters
const SHORTEST_PICTURE = 60; // characters in base64: no picture is smaller
const LONGEST_NAME = 200; // characters of a member's name in a tree
const NEAR_THE_END = 40; // pixels: who is that near to the end of a text follows it
const MEDIA = /^(image\/(png|jpeg|gif|webp)|audio\/.*|video\/.*)$/;
// The first characters of pictures in base64.
const STARTS = { iVBORw0KGgo: "image/png", "/9j/": "image/jpeg", R0lGOD: "image/gif", UklGR: "image/webp" };
const LONG_WHOLE = /(?<![\d.])\d{16,}(?![\d.eE])/; // a whole number that JavaScript cannot count
const FILE_ADDRESS = /^\/v1\/files\/[\w.~-]+$/;

// JSON with whole numbers that JavaScript cannot count: they become marked texts, and digits again when it is written.
const LONG_MARK = `\uE000${Array.from(crypto.getRandomValues(new Uint32Array(2)), String).join("-")}:`;
const JSON_PARTS = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;
const isLong = (value) => typeof value === "string" && value.startsWith(LONG_MARK);
const digitsOf = (value) => (isLong(value) ? value.slice(LONG_MARK.length) : String(value));

function valueOf(text) {
  const value = JSON.parse(text); // says what is wrong with the text itself
  if (!LONG_WHOLE.test(text)) return value;
  const isPlain = (part) => part[0] === '"' || /[.eE]/.test(part) || Number.isSafeInteger(Number(part));
  return JSON.parse(text.replace(JSON_PARTS, (part) => (isPlain(part) ? part : JSON.stringify(LONG_MARK + part))));
}

const textOf = (value, indent) => JSON.stringify(value, null, indent).replace(new RegExp(`"${LONG_MARK}(-?\\d+)"`, "g"), "$1");

function make(kind, text = "", className = "") {
  const element = document.createElement(kind);
  element.textContent = text;
  if (className) element.className = className;
  return element;
}

// What an answer says of what went wrong, by Kingpost or by an engine.
function errorIn(text) {
  try {
    const said = JSON.parse(text).error;
    if (typeof said === "string") return said;
    if (said) return said.message ?? JSON.stringify(said);
  } catch { /* the answer is text */ }
  return text.slice(0, 5000);
}

const typeOf = (header) => (header ?? "").split(";")[0].trim().toLowerCase();

function media(kind, address) {
  const element = make({ image: "img", audio: "audio", video: "video" }[kind.split("/")[0]], "", "output");
  element.src = address;
  if (element.tagName === "IMG") element.alt = "A picture in the output";
  else {
    element.controls = true;
    element.preload = "metadata";
    element.setAttribute("aria-label", "The output of the model");
  }
  return element;
}

function block(text) {
  const shown = make("pre", "", "body");
  shown.tabIndex = 0;
  shown.textContent = text.length > MOST_TEXT ? text.slice(0, MOST_TEXT) + "\n[cut here; the download has all of it]" : text;
  return shown;
}

// The elements for an answer that is complete: what it is as text, and before it the pictures and files in its JSON.
function elementsOf(kind, text) {
  if (kind !== "application/json" && !kind.endsWith("+json")) return [block(text)];
  let value;
  try { value = valueOf(text); } catch { return [block(text)]; }
  const asText = block(LONG_WHOLE.test(text) ? text : JSON.stringify(value, shortened, 2) ?? "");
  if (!isNested(value)) return [...insideOf(value), asText];
  const other = make("details");
  other.append(make("summary", "As text"), asText);
  return [...insideOf(value), tree(value), other];
}

// A tree of what is nested: a branch gets its leaves when it is opened, so that a large output costs what is looked at.
const MOST_LEAVES = 200; // of a branch, each time that more are asked for
const OPENED = 20; // branches below the first one that are open when a tree is shown
const isBranch = (value) => value !== null && typeof value === "object" && Object.keys(value).length > 0;
const isNested = (value) => isBranch(value) && Object.values(value).some(isBranch);

function tree(value) {
  const place = make("div", "", "tree");
  place.append(branch(Array.isArray(value) ? "list" : "object", value, true));
  for (const below of [...place.querySelectorAll("details details")].slice(0, OPENED)) below.open = true;
  return place;
}

function branch(name, value, isOpen = false) {
  const box = make("details"), head = make("summary"), count = Object.keys(value).length;
  const things = Array.isArray(value) ? "item" : "member";
  head.append(make("code", name), make("small", ` ${count} ${things}${count === 1 ? "" : "s"}`));
  box.append(head);
  box.addEventListener("toggle", () => { if (box.open && box.children.length === 1) leaves(box, Object.entries(value), 0); });
  if (isOpen) {
    leaves(box, Object.entries(value), 0);
    box.open = true;
  }
  return box;
}

function leaves(box, entries, first) {
  for (const [name, part] of entries.slice(first, first + MOST_LEAVES)) box.append(isBranch(part) ? branch(name.slice(0, LONGEST_NAME), part) : leaf(name, part));
  const next = first + MOST_LEAVES;
  if (next >= entries.length) return;
  const more = make("button", `${entries.length - next} more`);
  more.type = "button";
  more.addEventListener("click", () => { more.remove(); leaves(box, entries, next); });
  box.append(more);
}

// A member that holds nothing.
function leaf(name, value) {
  const line = make("div", "", "leaf"), text = isLong(value) ? digitsOf(value) : JSON.stringify(shortened("", value)) ?? "";
  line.append(make("code", name.slice(0, LONGEST_NAME)), " ", make("span", text, `v-${isLong(value) ? "number" : typeof value}`));
  return line;
}

// For JSON.stringify: long texts and pictures in base64 are only described.
function shortened(_, value) {
  if (typeof value !== "string" || value.length < PLAIN_LENGTH) return value;
  if (pictureType(value)) return `(a picture in base64, ${value.length} characters)`;
  return value.length > LONGEST_LEAF ? value.slice(0, LEAF_BEGINNING) + ` … (${value.length} characters)` : value;
}

// The type of a picture in base64, '' for any other text.
function pictureType(text) {
  const start = Object.keys(STARTS).find((start) => text.startsWith(start));
  if (start === "UklGR" && text.slice(12, 16) !== "RUJQ") return ""; // a RIFF that is no WEBP: a WAV, say
  return start && text.length > SHORTEST_PICTURE && /^[A-Za-z0-9+/=\s]+$/.test(text) ? STARTS[start] : "";
}

// Elements for the pictures and files in JSON, those on top first.
function insideOf(value) {
  const found = [], waiting = [value];
  while (waiting.length && found.length < MOST_MEDIA) {
    const next = waiting.shift();
    if (typeof next === "string") {
      const kind = pictureType(next);
      if (kind) found.push(media(kind, `data:${kind};base64,${next}`));
    } else if (next && typeof next === "object") {
      if (typeof next.$ref === "string" && FILE_ADDRESS.test(next.url)) found.push(fileLink(next));
      else waiting.push(...Object.values(next).slice(0, MOST_SEARCHED));
    }
  }
  return found;
}

// A file of an output: its type is the server's word, so a picture shows and everything else is a download.
function fileLink(file) {
  const holder = make("p"), link = make("a", "Download the file");
  link.href = file.url;
  link.download = "";
  holder.append(link, make("small", ` ${sizeOf(Number(file.size))}`));
  fetch(file.url, { method: "HEAD" }).then((answer) => {
    const kind = typeOf(answer.headers.get("content-type"));
    if (answer.ok && MEDIA.test(kind)) holder.prepend(media(kind, file.url));
  }).catch(() => {});
  return holder;
}

function sizeOf(bytes) {
  if (!(bytes >= 0)) return "";
  if (bytes < 1000) return `${bytes} bytes`;
  const units = ["kB", "MB", "GB"];
  let shown = bytes / 1000;
  while (shown >= 1000 && units.length > 1) { shown /= 1000; units.shift(); }
  return `${shown.toPrecision(3)} ${units[0]}`;
}

// The output of a request that has succeeded.
async function showResult(place, { job, kind, bytes }) {
  const address = `/ui/api/async_request/${job}/result`, type = typeOf(kind);
  const ways = make("p"), link = make("a", "Download");
  link.href = address;
  link.download = job;
  ways.append(link, make("small", ` ${type || "no type"}, ${sizeOf(Number(bytes))}`));
  if (MEDIA.test(type)) return place.replaceChildren(media(type, address), ways);
  const isText = type.startsWith("text/") || type.endsWith("json");
  if (!isText) return place.replaceChildren(ways);
  if (Number(bytes) > MOST_SHOWN) return place.replaceChildren(make("p", "It is too long for a page.", "none"), ways);
  try {
    const answer = await fetch(address);
    if (!answer.ok) throw new Error((await answer.json()).error);
    place.replaceChildren(...elementsOf(type, await answer.text()), ways);
  } catch (error) {
    place.replaceChildren(make("p", `The output could not be read: ${error.message}`, "wrong"), ways);
  }
}

// Text that comes piece by piece. The page keeps the end of a long one.
class Flow {
  constructor(place) {
    this.place = place;
    this.text = "";
    this.due = 0; // the frame that shows what has come
    this.isEnded = false;
  }

  add(text) {
    if (this.isEnded) return;
    this.text += text;
    if (this.text.length > 2 * MOST_TEXT) this.text = "[the beginning is left out here]\n" + this.text.slice(-MOST_TEXT);
    if (this.due) return;
    this.due = requestAnimationFrame(() => { this.due = 0; this.show(); });
  }

  // Shows the last of it at once; what is put in its place afterwards stays.
  end() {
    cancelAnimationFrame(this.due);
    if (this.due) this.show();
    this.due = 0;
    this.isEnded = true;
  }

  clear() { this.text = ""; }

  show() {
    let shown = this.place.querySelector("pre.flow");
    if (!this.text) return shown?.remove();
    if (!shown) {
      shown = make("pre", "", "body flow");
      shown.tabIndex = 0;
      this.place.replaceChildren(shown);
    }
    const atEnd = shown.scrollHeight - shown.scrollTop - shown.clientHeight < NEAR_THE_END;
    shown.textContent = this.text;
    if (atEnd) shown.scrollTop = shown.scrollHeight;
  }
}
