// The doors on the playground: what a platform's webhook looks like, and what `/in/{door}` answers.
// The text that is shown is the text that is sent.

import { knock } from "./api.js";
import { serverNow } from "./clock.js";
import { byId, copyButton, el, jsonBlock } from "./dom.js";
import { PLATFORMS, personOf } from "./webhooks.js";

const EVENTS = {
  text: "a message",
  image: "an image",
  typing: "“is typing”",
  own: "a person's answer",
  edit: "an edit",
  revoke: "a revocation",
};
const OF_ANOTHER = new Set(["edit", "revoke"]); // what names a message that was sent before
const USES_TEXT = new Set(["text", "image", "own", "edit"]);
const COUNTS = ["accepted", "typing", "held", "released", "edited", "ignored"];

const people = new Map(); // the queue's name of a conversation → who it is to the platform
const last = new Map(); // the queue's name of a conversation → the platform's id of its last message
let lastNumber = 0;

/** Fills the choices. `onSend()` is called when the button is pressed. */
export function wireDoors(onSend) {
  byId("platform").append(...Object.entries(PLATFORMS).map(([name, { label }]) => el("option", { value: name }, label)));
  byId("platform").addEventListener("change", offerEvents);
  byId("door-event").addEventListener("change", label);
  byId("door").addEventListener("submit", (event) => { event.preventDefault(); onSend(); });
  offerEvents();
}

/** What a platform does not tell is not offered. */
function offerEvents() {
  const chosen = byId("door-event").value;
  const { events } = PLATFORMS[byId("platform").value];
  byId("door-event").replaceChildren(...events.map((name) => el("option", { value: name }, EVENTS[name])));
  if (events.includes(chosen)) byId("door-event").value = chosen;
  label();
}

function label() {
  byId("door-send").textContent = `Send as ${PLATFORMS[byId("platform").value].label}`;
}

/**
 * What was chosen, about the person called `name` (or known to the queue by that name). Throws an
 * Error that says why where there is nothing to edit or to take back.
 */
export function chosenEvent(name, typed) {
  const platform = byId("platform").value;
  const event = byId("door-event").value;
  const about = PLATFORMS[platform];
  const person = people.get(name) ?? personOf(name);
  const user = about.user(person);
  const original = last.get(user);
  if (OF_ANOTHER.has(event) && original === undefined) {
    throw new Error(`There is no message from ${about.label} to change yet: send one first.`);
  }
  const text = typed.trim() || (event === "image" ? "" : "Oi, tudo bem?");
  lastNumber = Math.max(lastNumber + 1, Math.round(serverNow()));
  const id = about.id(lastNumber);
  people.set(user, person);
  if (event === "text" || event === "image") last.set(user, id);
  return {
    event,
    user,
    text,
    usesText: USES_TEXT.has(event),
    messageId: about.messageId(person, OF_ANOTHER.has(event) ? original : id),
    path: `in/${platform}`,
    body: JSON.stringify(about.write({ event, person, text, id, original, sentMs: Math.round(serverNow()) }), null, 2),
  };
}

let knocking = Promise.resolve();

/** Sends it after those before it and shows both halves. The answer; null if it was not taken. */
export function sendEvent(chosen) {
  const sent = knocking.then(() => exchange(chosen));
  knocking = sent.catch(() => null);
  return sent;
}

async function exchange({ path, body }) {
  showWebhook(path, body);
  const { status, text } = await knock(path, body);
  const answer = parsed(text);
  showAnswer(status, answer ?? text);
  return status === 200 ? answer : null;
}

function showWebhook(path, body) {
  const pre = el("pre", { tabindex: "0", "aria-label": "The webhook" }, body);
  byId("door-request").replaceChildren(el("p", { class: "small" }, el("code", {}, `POST /${path}`)), el("div", { class: "code" }, pre, copyButton(() => body)));
  byId("door-answer").replaceChildren(el("p", { class: "small muted" }, "No answer yet"));
  byId("door-said").hidden = false;
}

function showAnswer(status, answer) {
  byId("door-answer").replaceChildren(el("p", { class: "chips" }, ...chips(status, answer)), jsonBlock(answer));
}

function chips(status, answer) {
  const chip = (text, tone) => el("span", { class: "chip", data: { tone } }, text);
  if (status !== 200) return [chip(String(status), "bad")];
  const counted = COUNTS.filter((name) => answer[name] > 0).map((name) => chip(`${name} ${answer[name]}`, name === "ignored" ? "warn" : "good"));
  return [chip("200", "good"), ...counted, ...Object.keys(answer.reasons ?? {}).map((reason) => chip(`reason: ${reason}`, "warn"))];
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
