// A form from a JSON schema. A field has `element`, `read` (its value, undefined for what is left to the model) and `write`.
"use strict";

const MOST_FIELDS = 200; // of an object; a schema is a model's word, and its form must not fill the browser
const MOST_CHOICES = 500; // of a list; with more a field is JSON
const MOST_TITLE = 200, MOST_DESCRIPTION = 2000; // characters that are shown
const MOST_REFERENCES = 10; // that lead to a schema: they may go in a circle
const SHORT_TEXT = 120; // characters; a longer text gets an area of several lines
const SLIDER_STEPS = 100; // of a number that is not whole
const DEEPEST = 3; // objects within objects; deeper ones are JSON
const FILE_FORMATS = ["path", "file-path", "binary"];
let fieldNumber = 0;

// The schema behind references, without the null of an optional value.
function resolved(schema, root) {
  let nullable = false, known = {};
  for (let step = 0; step < MOST_REFERENCES && schema && typeof schema === "object"; step++) {
    const { $ref, anyOf, oneOf, allOf, ...rest } = schema;
    known = { ...rest, ...known }; // what stands at the reference wins
    const arms = (anyOf ?? oneOf ?? []).filter((arm) => arm?.type !== "null");
    if (anyOf ?? oneOf) {
      nullable ||= arms.length < (anyOf ?? oneOf).length;
      if (arms.length !== 1) return { schema: { ...known, type: undefined }, nullable };
      schema = arms[0];
    } else if (allOf?.length === 1) schema = allOf[0];
    else if (typeof $ref === "string" && $ref.startsWith("#/")) schema = $ref.slice(2).split("/").reduce((at, name) => at?.[name.replaceAll("~1", "/").replaceAll("~0", "~")], root);
    else return { schema: known, nullable };
  }
  return { schema: known, nullable };
}

const sameValue = (first, second) => JSON.stringify(first) === JSON.stringify(second);

// The field of a member of the input: with the rules for null, for defaults, and for what is required.
function fieldOf(name, given, root, required, depth) {
  const { schema, nullable } = resolved(given, root);
  const id = `f${++fieldNumber}`;
  const isChoice = nullable && schema.type === "boolean"; // true, false, or neither
  const field = kindOf(id, name, isChoice ? { ...schema, enum: [true, false] } : schema, root, depth);
  const title = String(schema.title ?? "").slice(0, MOST_TITLE);
  field.element = holder(id, name, title, String(schema.description ?? "").slice(0, MOST_DESCRIPTION), required, field);
  const { read, write } = field;
  let wasNull = false; // a null that was given stays one until there is a value
  field.read = () => {
    const value = read();
    if (value === undefined) return nullable && (required || wasNull) ? null : undefined;
    return !required && schema.default !== undefined && sameValue(value, schema.default) ? undefined : value;
  };
  field.write = (value) => {
    wasNull = value === null;
    write(value !== null ? value : nullable ? undefined : field.start);
  };
  field.start = schema.default === null ? undefined : schema.default;
  return field;
}

// The element of a field: its name, its title, what it is for, and the inputs.
function holder(id, name, title, description, required, field) {
  const box = make(field.isGroup ? "fieldset" : "div", "", field.isCheck ? "field check" : "field");
  const label = make(field.isGroup ? "legend" : "label");
  const plain = name.replaceAll("_", " ").toLowerCase() === title.toLowerCase();
  label.append(make("code", name));
  if (title && !plain) label.append(" ", title);
  if (!required) label.append(make("small", " optional"));
  if (!field.isGroup) label.htmlFor = id;
  box.append(label, ...field.inside);
  if (description) {
    const about = make("small", description, "about");
    about.id = `${id}-about`;
    (box.querySelector(`#${id}`) ?? box).setAttribute("aria-describedby", about.id);
    label.after(about);
  }
  return box;
}

// The inputs of a field, by the type that its schema declares; JSON where there is no better one.
function kindOf(id, name, schema, root, depth) {
  const choices = schema.enum ?? (schema.const !== undefined ? [schema.const] : undefined);
  if (Array.isArray(choices) && choices.length <= MOST_CHOICES) return choiceField(id, choices);
  if (schema.type === "boolean") return checkField(id);
  if (schema.type === "integer" || schema.type === "number") return numberField(id, name, schema);
  if (schema.type === "string") return FILE_FORMATS.includes(schema.format) ? fileField(id, false) : textField(id, schema);
  if (schema.type === "array" && isFile(resolved(schema.items ?? {}, root).schema)) return fileField(id, true);
  if (schema.type === "object" && schema.properties && depth < DEEPEST) return groupField(schema, root, depth + 1);
  return jsonField(id);
}

const isFile = (schema) => schema.type === "string" && FILE_FORMATS.includes(schema.format);

function choiceField(id, choices) {
  const element = make("select");
  element.id = id;
  element.append(new Option("", ""), ...choices.map((choice, number) => new Option(typeof choice === "string" ? choice : JSON.stringify(choice), String(number))));
  return {
    inside: [element],
    read: () => (element.value === "" ? undefined : choices[Number(element.value)]),
    write: (value) => { const at = choices.findIndex((choice) => sameValue(choice, value)); element.value = at < 0 ? "" : String(at); },
  };
}

function checkField(id) {
  const element = make("input");
  element.type = "checkbox";
  element.id = id;
  return { isCheck: true, inside: [element], read: () => element.checked, write: (value) => { element.checked = value === true; } };
}

function numberField(id, name, schema) {
  const whole = schema.type === "integer";
  const least = schema.minimum ?? schema.exclusiveMinimum, most = schema.maximum ?? schema.exclusiveMaximum;
  const element = make("input"), pair = make("div", "", "pair");
  pair.append(element);
  element.type = "number";
  element.id = id;
  element.step = whole ? "1" : "any";
  if (least !== undefined) element.min = String(least);
  if (most !== undefined) element.max = String(most);
  let slider;
  if (least !== undefined && most !== undefined && most > least) {
    slider = make("input");
    Object.assign(slider, { type: "range", min: String(least), max: String(most), step: whole ? String(schema.multipleOf ?? 1) : String(schema.multipleOf ?? (most - least) / SLIDER_STEPS) });
    slider.setAttribute("aria-label", `${name}, slider`);
    slider.addEventListener("input", () => { element.value = slider.value; });
    element.addEventListener("input", () => { if (element.value !== "") slider.value = element.value; });
    pair.append(slider);
  }
  return {
    inside: [pair],
    read: () => {
      if (!element.validity.valid) throw new Fault(name, element.validationMessage, element);
      return element.value === "" ? undefined : valueOf(asNumber(element.value));
    },
    write: (value) => {
      element.value = typeof value === "number" || isLong(value) ? digitsOf(value) : "";
      if (slider && element.value !== "") slider.value = element.value;
    },
  };
}

// What a number's field holds, as JSON: "+5", "007" and ".5" are none.
const asNumber = (text) => (/^-?(0|[1-9]\d*)$/.test(text) ? text : String(Number(text)));

function textField(id, schema) {
  const isShort = schema.format !== undefined || schema.pattern !== undefined || schema.maxLength <= SHORT_TEXT;
  const element = make(isShort ? "input" : "textarea");
  element.id = id;
  if (!isShort) element.rows = 3;
  let given = false; // an empty text is one only where there was one
  return {
    inside: [element],
    read: () => (element.value === "" && !given ? undefined : element.value),
    write: (value) => { given = typeof value === "string" && !isLong(value); element.value = given ? value : ""; },
  };
}

function jsonField(id) {
  const element = make("textarea");
  Object.assign(element, { id, rows: 2, spellcheck: false, placeholder: "JSON" });
  return {
    inside: [element],
    read: () => {
      if (element.value.trim() === "") return undefined;
      try { return valueOf(element.value); } catch (error) { throw new Fault("", `This is no JSON: ${error.message}`, element); }
    },
    write: (value) => { element.value = value === undefined ? "" : textOf(value); },
  };
}

// Files are uploaded when they are chosen. The value is what refers to them.
function fileField(id, several) {
  const element = make("input"), said = make("small", ""), drop = make("button", "Remove");
  Object.assign(element, { type: "file", id, multiple: several });
  drop.type = "button";
  said.setAttribute("role", "status");
  let refs = [], busy = false;
  const show = () => {
    drop.hidden = !refs.length;
    if (!busy) said.textContent = refs.length ? `${refs.length === 1 ? "a file is" : `${refs.length} files are`} uploaded ` : "";
  };
  const sent = async () => {
    busy = true;
    const files = [...element.files];
    try {
      for (const file of files) {
        const ref = await upload(file, (done, all) => { said.textContent = `${file.name.slice(0, 60)}: ${Math.floor((100 * done) / all)} % `; });
        refs = several ? [...refs, ref] : [ref];
      }
      busy = false;
      show();
    } catch (error) {
      said.textContent = `${error.message} `;
      element.value = "";
    } finally {
      busy = false;
      element.dispatchEvent(new Event("change-of-input", { bubbles: true }));
    }
  };
  element.addEventListener("change", (event) => { event.stopPropagation(); if (element.files.length) sent(); });
  drop.addEventListener("click", () => { refs = []; element.value = ""; show(); element.dispatchEvent(new Event("change-of-input", { bubbles: true })); });
  show();
  return {
    inside: [element, said, drop],
    read: () => {
      if (busy) throw new Fault("", "A file is still on its way; wait for it.", element);
      return several ? (refs.length ? refs : undefined) : refs[0];
    },
    write: (value) => { refs = (Array.isArray(value) ? value : [value]).filter((ref) => typeof ref?.$ref === "string"); show(); },
  };
}

function groupField(schema, root, depth) {
  const needed = new Set(schema.required ?? []);
  const fields = Object.entries(schema.properties).slice(0, MOST_FIELDS).map(([name, part]) => [name, fieldOf(name, part, root, needed.has(name), depth)]);
  let rest = {}; // what the schema does not name
  return {
    isGroup: true,
    inside: fields.map(([, field]) => field.element),
    read: () => {
      const value = { ...rest };
      for (const [name, field] of fields) {
        const part = field.read();
        if (part !== undefined) Object.defineProperty(value, name, { value: part, enumerable: true, configurable: true, writable: true });
      }
      return Object.keys(value).length || !depth ? value : undefined;
    },
    write: (value) => {
      const given = value && typeof value === "object" && !Array.isArray(value) ? value : {};
      rest = Object.fromEntries(Object.entries(given).filter(([name]) => !fields.some(([known]) => known === name)));
      for (const [name, field] of fields) field.write(Object.hasOwn(given, name) ? given[name] : field.start);
    },
  };
}

// What is wrong with an input, and the element that it is in.
class Fault extends Error {
  constructor(name, message, element) {
    super(name ? `${name}: ${message}` : message);
    this.element = element;
  }
}

// The form of an input's schema, null if that is no object with members.
function formOf(schema) {
  const known = resolved(schema, schema).schema;
  return known.type === "object" && known.properties ? groupField(known, schema, 0) : null;
}
