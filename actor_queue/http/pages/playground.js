// The playground: write as a person, watch the wait, see the webhook arrive.
// This file holds what the page knows and wires the parts together.

import { Away, Problem, ROOT, call, callText, follow, key, pause } from "./api.js";
import { Person, mark } from "./conversation.js";
import { chosenEvent, sendEvent, wireDoors } from "./doors.js";
import { byId, count, duration, el, parseJson, quoted, wireCopy } from "./dom.js";
import { showDead, showWaiting, tickWaiting } from "./ledger.js";
import { Receiver } from "./receiver.js";
import { learnScopes } from "./scopes.js";
import { Timer, isHeld } from "./timer.js";

const PEOPLE = ["joao.silva", "maria.souza", "+5511988887777"];
const BURST = ["Oi", "tudo bem?", "queria saber do meu pedido"];
const BURST_GAP_MS = 900;
const HOLD_S = 3_600;
const TYPING_EVERY_MS = 1_500;
const REFRESH_SOON_MS = 120;
const REFRESH_EVERY_MS = 4_000;
const RESEND_MS = 1_000;
const NOTE_MS = 7_000;
const LIST_MAX = 50;
const PEOPLE_MAX = 200;

const people = new Map();
const receiver = new Receiver();
const timer = new Timer();
const link = { state: "connecting", inbox: true };
let me = person(PEOPLE[0]);

// People

function person(name) {
  if (!people.has(name)) people.set(name, new Person(name));
  return people.get(name);
}

function become(name) {
  if (name === "" || name === me.name) return;
  me.hide();
  me = person(name);
  me.show(byId("log"));
  if (byId("user").value !== name) byId("user").value = name;
  render();
  toEnd();
  refresh(me);
}

function changed(who) {
  who.version += 1;
  if (who === me) render();
  showPeople();
}

function render() {
  timer.show(me);
  byId("blank").hidden = me.items.length > 0;
  writeCurl();
  showPeople();
}

function showPeople() {
  for (const button of byId("people").querySelectorAll("button")) {
    const who = people.get(button.dataset.name);
    button.setAttribute("aria-pressed", String(button.dataset.name === me.name));
    button.classList.toggle("busy", who !== undefined && who.state !== "idle");
  }
}

function initials(name) {
  const words = name.split(/[^\p{L}\p{N}]+/u).filter(Boolean);
  if (/^\d+$/.test(words[0] ?? "")) return words[0].slice(-2);
  return words.slice(0, 2).map((word) => word[0].toUpperCase()).join("");
}

// Messages out: one at a time per page, so that they keep their order

const outbox = [];
let sending = false;

function write(text) {
  const item = me.write(text, ttl());
  outbox.push({ who: me, item });
  byId("blank").hidden = true;
  toEnd();
  return sendAll();
}

async function sendAll() {
  if (sending) return;
  sending = true;
  while (outbox.length > 0) {
    if (await send(outbox[0])) outbox.shift();
    else await pause(RESEND_MS);
  }
  sending = false;
}

// Repeating is safe: the message has its own id.
async function send({ who, item }) {
  const message = { user: who.name, message: item.text, message_id: item.id };
  if (item.ttl !== null) message.ttl = item.ttl;
  mark(item, "sending");
  try {
    const answer = await call("POST", "api/message", message);
    mark(item, item.batch ? item.state : "waiting");
    if (!item.batch) accepted(who, answer, item.ttl);
    return true;
  } catch (error) {
    return notSent(item, error);
  }
}

function notSent(item, error) {
  if (error instanceof Problem && error.status !== 429 && error.status < 500) {
    mark(item, "refused", error.message);
    announce(`Refused: ${error.message}`);
    return true;
  }
  mark(item, "unsent");
  if (error instanceof Away) setLink("away");
  else if (error instanceof Problem) note(error.message);
  else throw error;
  return false;
}

function accepted(who, { pending, fires_in: firesIn, duplicate }, ttlS) {
  const busy = who.state === "delivering" || who.state === "retrying";
  if (!duplicate && who.pending > 0 && !busy) who.resets += 1;
  who.pending = pending;
  if (!busy) {
    who.state = isHeld(who) ? "held" : "collecting";
    wait(who, firesIn, ttlS ?? firesIn);
  }
  if (who === me && !busy && !duplicate) timer.again();
  changed(who);
}

function wait(who, firesIn, windowS) {
  who.deadline = firesIn === null ? null : performance.now() + firesIn * 1000;
  who.windowS = Math.max(windowS, firesIn ?? 0);
}

// Messages and what else a platform tells, through its door

async function sendByDoor() {
  let chosen;
  try {
    chosen = chosenEvent(me.name, byId("text").value);
  } catch (error) {
    note(error.message);
    return;
  }
  become(chosen.user);
  const who = me;
  const isMessage = chosen.event === "text" || chosen.event === "image";
  const item = isMessage ? who.write(chosen.text || "[image]", null, chosen.messageId) : null;
  if (item) mark(item, "sending");
  byId("blank").hidden = who.items.length > 0;
  if (chosen.usesText) byId("text").value = "";
  writeCurl();
  toEnd();
  try {
    await cameThrough(who, item, chosen, await sendEvent(chosen));
  } catch (error) {
    if (!(error instanceof Away)) throw error;
    if (item) mark(item, "refused", "no answer");
    setLink("away");
  }
}

/** `answer` is the door's; null if it took nothing. */
function cameThrough(who, item, { event, messageId, text }, answer) {
  if (item && !answer?.accepted) mark(item, "refused", Object.keys(answer?.reasons ?? {}).join(", ") || "see the answer");
  else if (item && !item.batch) mark(item, "waiting");
  if (answer?.edited) who.change(messageId, event === "revoke" ? null : text);
  if (answer?.accepted && who.state === "collecting" && who.pending > 0) who.resets += 1;
  if (answer?.accepted || answer?.typing) timer.again();
  changed(who);
  return refresh(who);
}

// Typing signals

let typingSince = 0;

function typed() {
  writeCurl();
  if (!byId("typing").checked || me.state !== "collecting") return;
  const now = performance.now();
  const everyMs = Math.min(TYPING_EVERY_MS, me.windowS * 300); // well before the wait is over
  if (now - typingSince < everyMs) return;
  typingSince = now;
  act(me, "typing").then((view) => view?.extended && timer.again());
}

// Verbs of a user

/** Throws for a name that a browser turns into another path: `users/./hold` holds everybody. */
function pathOf(name) {
  if (name === "." || name === "..") throw new Problem(0, { detail: `A browser cannot ask for a user who is called “${name}”.` });
  return `api/users/${encodeURIComponent(name)}`;
}

async function act(who, verb, body) {
  try {
    const view = await call("POST", `${pathOf(who.name)}/${verb}`, body);
    refresh(who);
    return view;
  } catch (error) {
    if (error instanceof Away) setLink("away");
    else note(error.message);
    return null;
  }
}

// What the service says of a user

const asked = new Map();

function refreshSoon(who) {
  if (asked.has(who) || (who !== me && who.items.length === 0)) return;
  asked.set(who, setTimeout(() => { asked.delete(who); refresh(who); }, REFRESH_SOON_MS));
}

async function refresh(who) {
  const version = who.version;
  try {
    const view = await call("GET", pathOf(who.name));
    if (who.version === version) believe(who, view);
    else refreshSoon(who);
  } catch (error) {
    if (!(error instanceof Away || error instanceof Problem)) throw error;
  }
}

function believe(who, view) {
  const sameWait = who.state === view.state && who.deadline !== null;
  const windowS = sameWait ? who.windowS : Math.max(view.fires_in ?? 0, ttl() ?? 0);
  who.state = view.state;
  who.pending = view.pending;
  who.batch = view.batch;
  who.recent = view.recent;
  who.heldUntil = view.held_for === null ? null : performance.now() + view.held_for * 1000;
  wait(who, view.fires_in, view.state === "retrying" && !sameWait ? view.fires_in : windowS);
  learnBatches(who, view);
  if (view.state === "idle") who.letGo();
  changed(who);
  toEnd(false);
}

// Batches that left while no events came, and messages from before this page.
function learnBatches(who, view) {
  const batches = [...view.recent].reverse().map((record) => [record.batch_id, record.messages]);
  if (view.batch) batches.push([view.batch.id, view.batch.messages]);
  who.known ??= new Set(batches.map(([id]) => id));
  batches.forEach(([id, messages]) => who.leave(id, messages));
  for (const record of [...view.recent].reverse()) {
    if (record.outcome === "delivered") who.settle(record.batch_id, "good", delivered(record.messages));
  }
  for (let missing = view.pending - who.waiting.length; missing > 0; missing -= 1) who.overhear(null);
}

const delivered = (messages) => `${count(messages, "message")} left as one webhook`;

// What happens

const HANDLERS = {
  accepted(who, event) {
    if (who.owns(event.message_id)) return;
    if (who.waiting.length < event.pending) who.overhear(event.message_id);
    accepted(who, { ...event, duplicate: false }, null);
    if (who === me) toEnd();
  },
  fired(who, event) {
    const { batch_id: id, messages, reason, attempt = 1 } = event;
    receiver.tell(id, { user: who.name, reason, ...lateOf(event) });
    if (attempt === 1 && !who.known?.has(id)) who.pending = Math.max(0, who.pending - messages);
    who.leave(id, messages);
    who.state = "delivering";
    who.batch = { id, messages, attempts: attempt };
    refreshSoon(who);
  },
  delivered(who, event) {
    const texts = who.texts(event.batch_id);
    const facts = { user: who.name, attempts: event.attempt, status: "delivered", texts };
    receiver.tell(event.batch_id, { ...facts, ...lateOf(event) });
    const messages = event.messages ?? texts.length;
    who.settle(event.batch_id, "good", messages ? delivered(messages) : "Left as one webhook");
    who.delivered += 1;
    if (who.batch?.id === event.batch_id) settled(who);
    fetchInbox();
    refreshSoon(who);
  },
  failed(who, event) {
    const failure = event.reason;
    receiver.tell(event.batch_id, {
      user: who.name, attempts: event.attempt, failure, retryIn: event.retry_in, status: "failing", texts: who.texts(event.batch_id),
    });
    who.settle(event.batch_id, "warn", `Not taken yet: ${failure}`);
    who.state = "retrying";
    who.batch = { ...who.batch, id: event.batch_id, attempts: event.attempt };
    who.recent = [{ batch_id: event.batch_id, reason: failure }, ...who.recent];
    wait(who, event.retry_in, event.retry_in);
    refreshSoon(who);
  },
  divided(who, event) {
    receiver.tell(event.batch_id, { user: who.name, failure: event.reason, status: "divided", texts: who.texts(event.batch_id) });
    who.settle(event.batch_id, "warn", "Too large for the receiver: it comes again in two parts");
    who.state = "retrying";
    refreshSoon(who);
  },
  dead(who, event) {
    receiver.tell(event.batch_id, { user: who.name, failure: event.reason, status: "dead", texts: who.texts(event.batch_id) });
    who.settle(event.batch_id, "bad", `Given up: ${event.reason}`);
    announce(`A batch for ${who.name} became a dead letter: ${event.reason}`);
    if (who.batch?.id === event.batch_id) settled(who);
    refreshSoon(who);
  },
};

const lateOf = (event) => (event.late_ms === undefined ? {} : { lateMs: event.late_ms });

function settled(who) {
  who.batch = null;
  who.state = who.pending > 0 ? "collecting" : "idle";
  who.deadline = null;
}

function happened(name, event) {
  const handler = HANDLERS[name];
  if (!handler || typeof event.user !== "string") return;
  refreshLists();
  const tooMany = !link.inbox || people.size >= PEOPLE_MAX; // production: thousands of others
  if (tooMany && !people.has(event.user)) return;
  const who = person(event.user);
  handler(who, event);
  changed(who);
}

// Webhooks that arrived

let inboxAsked = null;
let inboxAgain = false;
let modesChosen = 0; // an answer to an older question does not know the mode that was chosen since

/** Several calls at once become two: one under way and one after it. */
function fetchInbox() {
  if (!link.inbox) return;
  inboxAgain = inboxAsked !== null;
  inboxAsked ??= askInbox().finally(() => {
    inboxAsked = null;
    if (inboxAgain) fetchInbox();
  });
}

async function askInbox() {
  try {
    const before = receiver.delivered();
    const chosen = modesChosen;
    const { webhooks, mode } = parseJson(await callText("GET", "dev/inbox"));
    showInbox(webhooks, chosen === modesChosen ? mode : null);
    before.forEach((id) => receiver.tell(id, { outside: true }));
  } catch (error) {
    if (error instanceof Away) return;
    if (!(error instanceof Problem)) throw error;
    link.inbox = false;
    showSections();
  }
}

/** `mode` is null where the answer is older than what was chosen. */
function showInbox(webhooks, mode) {
  const times = new Map();
  for (const webhook of webhooks) times.set(webhook.id, (times.get(webhook.id) ?? 0) + 1);
  for (const webhook of [...webhooks].reverse()) {
    const texts = webhook.body?.messages;
    const before = receiver.about(webhook.id);
    if (before?.webhook?.received_at === webhook.received_at) continue;
    const arrived = receiver.tell(webhook.id, { webhook, times: times.get(webhook.id) });
    const who = people.get(webhook.body?.user);
    if (!Array.isArray(texts)) continue;
    who?.reveal(webhook.id, texts);
    if (arrived && before) announce(`A webhook for ${webhook.body.user} arrived with ${count(texts.length, "message")}: ${texts.join("; ")}`);
  }
  const radio = mode === null ? null : byId("mode").querySelector(`[value="${CSS.escape(mode ?? "ok")}"]`);
  if (radio) radio.checked = true;
  showSections();
}

async function setMode(mode) {
  modesChosen += 1;
  try {
    await call("POST", "dev/inbox/mode", { mode });
    modesChosen += 1; // what was asked meanwhile may have been answered before
  } catch (error) {
    note(error.message);
    fetchInbox();
  }
}

async function clearInbox() {
  try {
    await call("DELETE", "dev/inbox");
    receiver.clear();
  } catch (error) {
    note(error.message);
  }
}

// Lists for whoever runs it

let listsAsked = null;
const listed = { waiting: [], dead: [] };

function refreshLists() {
  listsAsked ??= setTimeout(async () => {
    await Promise.all([fetchWaiting(), fetchDead()]);
    showSections();
    listsAsked = null;
  }, 400);
}

async function fetchWaiting() {
  const page = await quietly(() => call("GET", `api/users?limit=${LIST_MAX}`));
  if (!page) return;
  listed.waiting = page.users;
  showWaiting(page.users, page.cursor !== null && page.cursor !== undefined, become);
  tickWaiting();
}

async function fetchDead() {
  const page = await quietly(() => call("GET", `api/dead?limit=${LIST_MAX}`));
  if (!page) return;
  listed.dead = page.dead;
  showDead(page.dead, page.cursor !== null && page.cursor !== undefined, replay, drop);
}

async function quietly(ask) {
  try {
    return await ask();
  } catch (error) {
    if (error instanceof Away || error instanceof Problem) return null;
    throw error;
  }
}

const deadPath = (id) => `api/dead/${encodeURIComponent(id)}`;
const replay = (id) => correct(() => call("POST", `${deadPath(id)}/replay`));
const drop = (id) => correct(() => callText("DELETE", deadPath(id)));

async function correct(ask) {
  try {
    await ask();
  } catch (error) {
    note(error.message);
  }
  refreshLists();
}

function showSections() {
  byId("receiver").hidden = !link.inbox;
  const others = listed.waiting.some((user) => user.user !== me.name);
  byId("waiting").hidden = link.inbox && !others;
  byId("dead").hidden = link.inbox && listed.dead.length === 0;
  byId("real").hidden = link.inbox;
}

// The link to the server

const LINK_TEXTS = { up: "Connected", blind: "Connected", degraded: "Not accepting", away: "Server away", "signed-out": "Signed out" };

function setLink(state, detail = "") {
  const before = link.state;
  link.state = state;
  byId("link").dataset.state = state === "blind" ? "up" : state;
  byId("link-text").textContent = LINK_TEXTS[state];
  showTrouble(state, detail);
  if (before !== state && (state === "up" || state === "blind")) connected();
}

function showTrouble(state, detail) {
  if (state === "away") trouble("The server does not answer. This page tries again; what was accepted is safe.", "bad");
  else if (state === "degraded") trouble(detail || "The server accepts nothing at the moment.", "warn");
  else if (!noting) byId("trouble").hidden = true;
}

function connected() {
  learnScopes().then(render);
  refresh(me);
  fetchInbox();
  refreshLists();
}

let noting = null;

function note(text) {
  clearTimeout(noting);
  trouble(text, "warn");
  noting = setTimeout(() => {
    noting = null;
    if (link.state === "up" || link.state === "blind") byId("trouble").hidden = true;
  }, NOTE_MS);
}

function trouble(text, tone) {
  const node = byId("trouble");
  node.dataset.tone = tone;
  if (node.textContent !== text) node.textContent = text;
  node.hidden = false;
}

function announce(text) {
  byId("announce").textContent = text;
}

// The composer

function ttl() {
  const text = byId("ttl").value.trim();
  return text === "" ? null : Number(text);
}

function writeCurl() {
  const wait = ttl();
  const message = { user: me.name, message: byId("text").value.trim() || BURST[0] };
  if (wait !== null) message.ttl = wait;
  const lines = [`curl ${quoted(`${ROOT}api/message`)}`, `  -H 'content-type: application/json'`];
  if (key() !== null) lines.push(`  -H "authorization: Bearer $AQ_KEY"`);
  lines.push(`  -d ${quoted(JSON.stringify(message))}`);
  byId("curl").textContent = lines.join(" \\\n");
}

function toEnd(always = true) {
  const frame = byId("log-frame");
  const near = frame.scrollHeight - frame.scrollTop - frame.clientHeight < 160;
  if (always || near) frame.scrollTop = frame.scrollHeight;
}

function submit() {
  const text = byId("text").value;
  if (text.trim() === "") return;
  byId("text").value = "";
  write(text);
  writeCurl();
}

async function burst() {
  const who = me;
  byId("text").focus();
  for (const text of BURST) {
    if (who !== me) return;
    write(text);
    await pause(BURST_GAP_MS);
  }
}

function wire() {
  byId("composer").addEventListener("submit", (event) => { event.preventDefault(); submit(); });
  byId("text").addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    submit();
  });
  byId("text").addEventListener("input", typed);
  byId("burst").addEventListener("click", burst);
  byId("user").addEventListener("change", () => become(byId("user").value.trim()));
  byId("ttl-range").addEventListener("input", () => { byId("ttl").value = byId("ttl-range").value; writeCurl(); });
  byId("ttl").addEventListener("input", () => { byId("ttl-range").value = byId("ttl").value; writeCurl(); });
  byId("flush").addEventListener("click", () => act(me, "flush"));
  byId("hold").addEventListener("click", () => (isHeld(me) ? act(me, "release") : act(me, "hold", { seconds: HOLD_S })));
  byId("mode").addEventListener("change", (event) => setMode(event.target.value));
  byId("clear").addEventListener("click", clearInbox);
  wireDoors(sendByDoor);
  wireCopy(byId("curl-copy"), () => byId("curl").textContent);
  document.addEventListener("visibilitychange", () => document.hidden || refresh(me));
}

function peopleButtons() {
  const button = (name) =>
    el("button", { class: "person", type: "button", title: name, "aria-label": `${initials(name)}: write as ${name}`, data: { name }, onclick: () => become(name) }, initials(name));
  byId("people").append(...PEOPLE.map((name) => el("li", {}, button(name))));
}

// Events can be lost (a full queue, a key that may not read them); this mends what they missed.
function mend() {
  if (document.hidden || link.state === "away") return;
  if (me.state !== "idle" || link.state === "blind") refresh(me);
  if (link.state === "blind") fetchInbox();
  refreshLists();
}

wire();
peopleButtons();
me.show(byId("log"));
render();
setInterval(tickWaiting, 250);
setInterval(mend, REFRESH_EVERY_MS);
follow(happened, setLink);
