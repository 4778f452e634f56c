// Small tools for building pages. Text goes in as text, never as markup.

/** An element. `props`: class, data, on<event>, and attributes; children are nodes or texts. */
export function el(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "class") node.className = value;
    else if (name === "data") Object.assign(node.dataset, value);
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children.filter((child) => child !== undefined && child !== null && child !== ""));
  return node;
}

export const byId = (id) => document.getElementById(id);

export const count = (n, noun) => `${n.toLocaleString("en")} ${noun}${n === 1 ? "" : "s"}`;

const CLOCK = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium" });

export const clock = (date) => CLOCK.format(date);

/** A duration in words that stay readable while they count down. */
export function duration(seconds, digits = 1) {
  const left = Math.max(0, seconds);
  if (left < 60) return `${left.toFixed(left < 10 ? digits : 0)} s`;
  if (left < 3600) return `${Math.floor(left / 60)} min ${Math.floor(left % 60)} s`;
  return `${Math.floor(left / 3600)} h ${Math.floor((left % 3600) / 60)} min`;
}

/** How late something was, as people say it. */
export function lateness(ms) {
  if (ms <= 0) return "on time";
  if (ms < 1) return "less than 1 ms late";
  return ms < 1000 ? `${Math.round(ms)} ms late` : `${duration(ms / 1000)} late`;
}

export function copyButton(text, label = "Copy") {
  const button = el("button", { class: "button quiet", type: "button" }, label);
  return wireCopy(button, text);
}

/** `text` is asked for when the button is pressed. */
export function wireCopy(button, text) {
  const label = button.textContent;
  button.addEventListener("click", async () => {
    const done = await copied(text());
    button.textContent = done ? "Copied" : "Press Ctrl+C";
    setTimeout(() => (button.textContent = label), 1600);
  });
  return button;
}

async function copied(text) {
  try {
    await navigator.clipboard.writeText(text); // only where the page's origin is trustworthy
    return true;
  } catch {
    return copiedBySelection(text);
  }
}

function copiedBySelection(text) {
  const area = el("textarea", { class: "out-of-sight", "aria-hidden": "true", readonly: true });
  area.value = text;
  (document.querySelector("dialog[open]") ?? document.body).append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  return done;
}

// JSON whose numbers keep the digits they were sent with, where the browser can do that.
const exactly = (_, value, context) =>
  typeof value === "number" && context?.source !== undefined && String(value) !== context.source
    ? JSON.rawJSON(context.source)
    : value;

export const parseJson = (text) =>
  JSON.rawJSON === undefined ? JSON.parse(text) : JSON.parse(text, exactly);

/** Indented JSON in colour, with a button that copies it. */
export function jsonBlock(value, label = "Copy") {
  const text = JSON.stringify(value, null, 2);
  const pre = el("pre", { tabindex: "0" });
  pre.append(...coloured(text));
  return el("div", { class: "code" }, pre, copyButton(() => text, label));
}

const TOKEN = /("(?:[^"\\]|\\.)*")(\s*:)?|(-?\d[\d.eE+-]*|true|false|null)/g;
const COLOURED_CHARACTERS_MAX = 100_000;

function* coloured(text) {
  if (text.length > COLOURED_CHARACTERS_MAX) return yield text;
  let from = 0;
  for (const match of text.matchAll(TOKEN)) {
    const [whole, string, colon] = match;
    const token = string ?? whole;
    yield text.slice(from, match.index);
    const kind = colon ? "json-key" : string ? "json-text" : "json-other";
    yield el("span", { class: kind }, token);
    from = match.index + token.length;
  }
  yield text.slice(from);
}

/** A word for `sh`, quoted so that nothing in it is expanded. */
export const quoted = (text) => `'${text.replaceAll("'", `'\\''`)}'`;
