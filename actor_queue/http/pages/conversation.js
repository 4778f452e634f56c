// What one person wrote in this tab, and which webhook each message left in.
//
// The service tells ids and counts, never texts, so messages of other senders stand here as
// placeholders until the webhook that carries them arrives.

import { clock, count, el } from "./dom.js";

const ITEMS_MAX = 500;

/** Somebody who writes. Times are on the page's own monotonic clock. */
export class Person {
  constructor(name) {
    this.name = name;
    this.state = "idle";
    this.pending = 0;
    this.deadline = null; // ms, performance.now()
    this.windowS = 1; // the full circle
    this.heldUntil = null; // ms, performance.now()
    this.batch = null;
    this.recent = [];
    this.resets = 0;
    this.delivered = 0;
    this.items = []; // bubbles and seams, in order
    this.known = null; // batch ids that are settled as far as this page is concerned
    this.version = 0; // counts changes, so that an answer asked for earlier is not believed
    this.log = null; // the list, while this person is the one shown
  }

  // Bubbles

  write(text, ttl, id = newId()) {
    return this.#add(bubble({ id, text, ttl, state: "unsent", at: new Date() }));
  }

  /** One that still waits here has another text now, or none: null takes it back. */
  change(id, text) {
    const item = this.waiting.find((each) => each.id === id);
    if (item === undefined) return;
    if (text === null) return mark(item, "revoked");
    item.text = text;
    item.node.querySelector(".words").textContent = text;
  }

  /** Somebody else's message, or one from before this page was opened. */
  overhear(id) {
    return this.#add(bubble({ id, text: null, state: "waiting", at: new Date() }));
  }

  owns(id) {
    return this.items.some((item) => item.id === id);
  }

  get waiting() {
    return this.items.filter((item) => item.node.matches(".bubble") && !item.batch && isOnItsWay(item));
  }

  // Batches

  /** The next `messages` bubbles left in this batch. Saying it twice changes nothing. */
  leave(batchId, messages) {
    if (this.known?.has(batchId)) return;
    this.known ??= new Set();
    this.known.add(batchId);
    const left = this.waiting.slice(0, messages);
    if (left.length === 0) return;
    left.forEach((item) => (item.batch = batchId));
    const text = `${count(messages, "message")}, one webhook`;
    this.#addAfter(left.at(-1), { batch: batchId, node: seam(text) });
    this.resets = 0;
  }

  /** What became of a batch: its seam and its bubbles show it. */
  settle(batchId, tone, text) {
    for (const item of this.items.filter((item) => item.batch === batchId)) {
      if (item.node.matches(".seam")) relabel(item.node, text, tone);
      else if (tone === "good") mark(item, "delivered");
    }
  }

  /** Texts of a webhook that arrived, for the bubbles whose text this page never saw. */
  reveal(batchId, texts) {
    const bubbles = this.items.filter((item) => item.batch === batchId && item.node.matches(".bubble"));
    if (bubbles.length !== texts.length) return;
    bubbles.forEach((item, place) => {
      if (item.text !== null) return;
      item.text = texts[place];
      item.node.querySelector(".words").textContent = texts[place];
      item.node.dataset.state = "delivered";
    });
  }

  /** Nothing waits any more, and no webhook is known that could have taken these. */
  letGo() {
    const gone = this.waiting.filter((item) => item.state === "waiting");
    if (gone.length === 0) return;
    gone.forEach((item) => (item.batch = "gone"));
    this.#addAfter(gone.at(-1), { batch: "gone", node: seam(`${count(gone.length, "message")} no longer waiting`) });
    this.resets = 0;
  }

  texts(batchId) {
    return this.items
      .filter((item) => item.batch === batchId && item.node.matches(".bubble"))
      .map((item) => item.text);
  }

  // The list on the page

  show(log) {
    this.log = log;
    log.replaceChildren(...this.items.map((item) => item.node));
  }

  hide() {
    this.log = null;
  }

  #add(item) {
    this.items.push(item);
    this.log?.append(item.node);
    while (this.items.length > ITEMS_MAX) this.items.shift().node.remove();
    return item;
  }

  #addAfter(item, added) {
    this.items.splice(this.items.indexOf(item) + 1, 0, added);
    if (this.log) item.node.after(added.node);
  }
}

const isOnItsWay = (item) => item.state === "waiting" || item.state === "sending";

// Works without the secure context that crypto.randomUUID asks for.
const newId = () =>
  [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");

function bubble(item) {
  const words = el("span", { class: "words" }, item.text ?? "A message from another sender");
  item.meta = el("span", { class: "meta" });
  item.node = el("li", { class: "bubble fresh" }, words, item.meta);
  mark(item, item.state);
  return item;
}

/** `state`: unsent, sending, waiting (accepted), delivered, refused, revoked (by its writer). */
export function mark(item, state, detail = "") {
  item.state = state;
  item.node.dataset.state = item.text === null && state !== "delivered" ? "elsewhere" : state;
  item.meta.textContent = META[state](clock(item.at), detail);
}

const META = {
  unsent: (at) => `${at} · not sent yet`,
  sending: (at) => `${at} · …`,
  waiting: (at) => `${at} ✓`,
  delivered: (at) => `${at} ✓✓`,
  refused: (at, detail) => `Refused: ${detail}`,
  revoked: (at) => `${at} · taken back`,
};

const seam = (text) => el("li", { class: "seam" }, text);

function relabel(node, text, tone) {
  node.dataset.tone = tone;
  node.textContent = text;
}
