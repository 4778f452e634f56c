// The webhooks that arrived at the built-in inbox, and those that did not get there yet.

import { byId, clock, copyButton, count, duration, el, jsonBlock, lateness } from "./dom.js";

const CARDS_MAX = 100;

const REASONS = {
  quiet: "closed because the user went quiet",
  max_wait: "closed because its first message had waited long enough",
  max_messages: "closed because it had as many messages as a batch may have",
  max_bytes: "closed because it was as large as a batch may be",
  flush: "closed because somebody asked for it",
};

/** Batches by `webhook-id`, one card each; the newest on top. */
export class Receiver {
  #cards = new Map();

  /** Merges what is known about a batch; `webhook` makes its card final. Returns true if it just arrived. */
  tell(id, facts) {
    const batch = this.#cards.get(id) ?? { id, attempts: 0, shown: null };
    const arrived = facts.webhook !== undefined && batch.webhook === undefined;
    Object.assign(batch, facts);
    this.#cards.set(id, batch);
    if (batch.webhook || batch.failure || batch.outside) this.#show(batch, arrived);
    this.#trim();
    return arrived;
  }

  about(id) {
    return this.#cards.get(id);
  }

  /** Ids of what some receiver took; those that the inbox then does not list went elsewhere. */
  delivered() {
    const taken = [...this.#cards.values()].filter((batch) => batch.status === "delivered");
    return taken.filter((batch) => !batch.webhook && !batch.outside).map((batch) => batch.id);
  }

  clear() {
    for (const batch of this.#cards.values()) batch.shown?.remove();
    this.#cards.clear();
    this.#hollow();
  }

  #show(batch, arrived) {
    const node = cardOf(batch);
    const open = batch.shown?.querySelector("details")?.open ?? false;
    if (open && node.querySelector("details")) node.querySelector("details").open = true;
    if (arrived) node.classList.add("fresh");
    if (batch.shown && !arrived) batch.shown.replaceWith(node);
    else {
      batch.shown?.remove();
      byId("webhooks").prepend(node);
    }
    batch.shown = node;
    this.#hollow();
  }

  #trim() {
    for (const [id, batch] of this.#cards) {
      if (this.#cards.size <= CARDS_MAX) return;
      batch.shown?.remove();
      this.#cards.delete(id);
    }
  }

  #hollow() {
    const some = byId("webhooks").childElementCount > 0;
    byId("no-webhooks").hidden = some;
    byId("clear").hidden = !some;
  }
}

function cardOf(batch) {
  if (batch.webhook) return arrivedCard(batch);
  return batch.status === "delivered" ? outsideCard(batch) : pendingCard(batch);
}

function arrivedCard(batch) {
  const { headers, body, received_at: at } = batch.webhook;
  const texts = Array.isArray(body?.messages) ? body.messages : [];
  return el(
    "li",
    { class: "webhook panel", data: { id: batch.id } },
    el(
      "header",
      {},
      el("h3", {}, body?.user ?? batch.user ?? "A webhook"),
      el("time", { datetime: at }, clock(new Date(at))),
    ),
    textList(texts),
    el("p", { class: "chips" }, ...chips(batch, texts)),
    idLine(batch.id),
    el(
      "details",
      {},
      el("summary", {}, "The request"),
      headerLines(headers),
      jsonBlock(body, "Copy"),
    ),
  );
}

function chips(batch, texts) {
  const reason = batch.reason ?? batch.webhook?.body?.batch?.reason;
  return [
    el("span", { class: "chip" }, count(texts.length, "message")),
    reason && el("span", { class: "chip", title: REASONS[reason] }, `reason: ${reason}`),
    batch.lateMs !== undefined &&
      el("span", { class: "chip", data: { tone: lateTone(batch) }, title: "after the moment it was due" }, lateness(batch.lateMs)),
    batch.attempts > 1 && el("span", { class: "chip", data: { tone: "warn" } }, `attempt ${batch.attempts}`),
    batch.times > 1 &&
      el("span", { class: "chip", data: { tone: "warn" }, title: "with the same webhook-id" }, `arrived ${batch.times} times`),
  ].filter(Boolean);
}

const lateTone = (batch) => (batch.lateMs < 100 ? "good" : "");

function textList(texts) {
  const line = (text, place) =>
    el("li", {}, el("span", { class: "place", "aria-hidden": "true" }, String(place + 1)), el("span", {}, text ?? "…"));
  return el("ol", { class: "texts" }, ...texts.map(line));
}

const idLine = (id) =>
  el("p", { class: "id" }, el("code", { title: "webhook-id" }, id), copyButton(() => id, "Copy id"));

function headerLines(headers) {
  const text = Object.entries(headers)
    .map(([name, value]) => `${name}: ${value}`)
    .join("\n");
  return el("div", { class: "code" }, el("pre", { tabindex: "0" }, text));
}

/** Taken by a receiver that this page cannot look into. */
function outsideCard(batch) {
  const texts = batch.texts ?? [];
  return el(
    "li",
    { class: "webhook panel", data: { id: batch.id } },
    el("header", {}, el("h3", {}, batch.user), el("span", { class: "chip", data: { tone: "good" } }, "delivered")),
    textList(texts),
    el("p", { class: "chips" }, ...chips(batch, texts)),
    el("p", { class: "muted small" }, "It went to your own webhook, so the request cannot be shown here."),
    idLine(batch.id),
  );
}

function pendingCard(batch) {
  const divided = batch.status === "divided";
  const over = batch.status === "dead" || divided;
  const next = batch.retryIn === undefined ? "" : ` The next one ${duration(batch.retryIn)} later.`;
  const story = divided ? `Too large for the receiver (${batch.failure}): it comes again in two parts.` : over ? `Given up: ${batch.failure}.` : `Attempt ${batch.attempts}: ${batch.failure}.${next}`;
  return el(
    "li",
    { class: over ? "webhook panel pending over" : "webhook panel pending", data: { id: batch.id } },
    el(
      "header",
      {},
      el("h3", {}, batch.user),
      el("span", { class: "chip", data: { tone: over ? "bad" : "warn" } }, divided ? "divided" : over ? "dead letter" : "not taken yet"),
    ),
    batch.texts?.length ? textList(batch.texts) : "",
    el("p", { class: "muted small" }, story),
    idLine(batch.id),
  );
}
