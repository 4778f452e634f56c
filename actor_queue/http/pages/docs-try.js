// "Try it": one operation's request as a form, sent to this service, and what it answered.

import { Away, tryCall } from "./api.js";
import { el, jsonBlock } from "./dom.js";

const CHARACTERS_SHOWN = 20_000;
const ROWS_MAX = 14;

/** A closed form that is built when it is opened. `sample` is the body to begin with. */
export function trial(operation, sample) {
  const box = el("details", { class: "trial" }, el("summary", {}, "Try it"));
  box.addEventListener("toggle", () => box.open && box.children.length === 1 && box.append(form(operation, sample)));
  return box;
}

function form(operation, sample) {
  const inputs = operation.parameters.map((parameter) => ({ parameter, input: input(parameter) }));
  const text = sample === undefined || typeof sample === "string" ? (sample ?? "") : JSON.stringify(sample, null, 2);
  const body = operation.body ? el("textarea", { class: "field code-field", spellcheck: "false", rows: Math.min(ROWS_MAX, text.split("\n").length) }) : null;
  if (body) body.value = text;
  const answer = el("div", { class: "trial-answer", "aria-live": "polite" });
  const send = el("button", { class: "button primary", type: "submit" }, `${operation.verb.toUpperCase()} it`);
  const warning = operation.verb === "get" ? "" : el("p", { class: "muted small" }, "This is the real service: it does what you send.");
  const node = el(
    "form",
    { class: "trial-form" },
    ...inputs.map(({ parameter, input: field }) => el("label", { class: "small" }, `${parameter.name} (${parameter.in}${parameter.required ? ", required" : ""})`, field)),
    body ? el("label", { class: "small" }, `Body, ${operation.body.type}`, body) : "",
    warning,
    send,
    answer,
  );
  node.addEventListener("submit", async (event) => {
    event.preventDefault();
    send.disabled = true;
    answer.replaceChildren(...(await sent(operation, inputs, body)));
    send.disabled = false;
  });
  return node;
}

function input({ name, required, schema = {} }) {
  const example = schema.examples?.[0] ?? "";
  const field = el("input", { class: "field", name, autocomplete: "off", spellcheck: "false", required: required === true });
  field.value = required ? String(example) : "";
  return field;
}

async function sent(operation, inputs, body) {
  try {
    const { status, headers, text, tookMs } = await tryCall(operation.verb.toUpperCase(), pathOf(operation, inputs), body?.value, headersOf(operation, inputs, body));
    const tone = status < 400 ? "good" : "bad";
    const lines = headers.map(([name, value]) => `${name}: ${value}`).join("\n");
    return [
      el("p", {}, el("span", { class: "chip", data: { tone } }, String(status)), ` in ${Math.round(tookMs)} ms`),
      el("details", {}, el("summary", { class: "small" }, "Headers"), el("div", { class: "code" }, el("pre", { tabindex: "0" }, lines))),
      shown(text),
    ];
  } catch (error) {
    if (error instanceof Away) return [el("p", { class: "muted" }, `${error.message}. It may or may not have been carried out.`)];
    return [el("p", { class: "muted" }, `It could not be sent: ${error.message}`)];
  }
}

function pathOf(operation, inputs) {
  let path = operation.path.replace(/^\//, "");
  const query = new URLSearchParams();
  for (const { parameter, input: field } of inputs) {
    if (parameter.in === "path") path = path.replace(`{${parameter.name}}`, encodeURIComponent(field.value));
    if (parameter.in === "query" && field.value !== "") query.set(parameter.name, field.value);
  }
  return query.size > 0 ? `${path}?${query}` : path;
}

function headersOf(operation, inputs, body) {
  const headers = {};
  if (body) headers["content-type"] = operation.body.type;
  for (const { parameter, input: field } of inputs) {
    if (parameter.in === "header" && field.value !== "") headers[parameter.name] = field.value;
  }
  return headers;
}

function shown(text) {
  if (text === "") return el("p", { class: "muted small" }, "An empty body.");
  try {
    if (text.length <= CHARACTERS_SHOWN) return jsonBlock(JSON.parse(text));
  } catch {
    // Not JSON: shown as it is.
  }
  return el("div", { class: "code" }, el("pre", { tabindex: "0" }, text.slice(0, CHARACTERS_SHOWN)));
}
