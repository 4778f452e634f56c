// What the page knows of one user over time: from the service's answers, and from what happened
// while the page was open. Bounded; draws nothing.

const DOTS_MAX = 400;
const WINDOWS_MAX = 60;
const BATCHES_MAX = 60;
const MARKS_MAX = 100;
const EXTENDED_MS = 400; // by less than this, a later end is only another estimate of the same one

export class Past {
  #dots = new Map();
  #windows = [];
  #batches = new Map();
  #holds = [];
  #typing = [];
  #deeds = [];
  #messageAt = 0;

  /** `view` as `GET api/users/{user}` answered at `now`. */
  view(view, now) {
    for (const record of [...view.recent].reverse()) this.#attempt(record.batch_id, record);
    if (view.batch) this.#underWay(view.batch, view, now);
    this.#window(view, now);
    this.#hold(view, now);
  }

  /** Messages with their texts, from the service: what waits, or is under way. */
  items(items) {
    for (const item of items) {
      const at = Date.parse(item.received_at);
      const id = item.message_id ?? `seq ${item.seq}`;
      if (!Number.isNaN(at)) this.#dot(id, { ...this.#dots.get(id), at, json: item, known: true });
    }
  }

  /** What was done by hand, newest first. Holds from before the page was open follow from it. */
  deeds(deeds) {
    this.#deeds = deeds.slice(0, MARKS_MAX);
    const [holds] = [...this.#deeds].reverse().reduce(withDeed, [[], null]);
    if (holds.length > 0) this.#holds = holds;
  }

  /** An event of this user's, heard at `now`. */
  happened(name, data, now) {
    if (name === "accepted") this.#accepted(data, now);
    if (name === "fired") this.#fired(data, now);
    if (name === "delivered" || name === "failed" || name === "dead" || name === "divided") {
      const at = new Date(now).toISOString();
      this.#attempt(data.batch_id, { ...data, outcome: name, at });
    }
  }

  /** All of it as `Picture.draw` takes it. */
  story(now) {
    return {
      now,
      dots: [...this.#dots.values()].sort((one, other) => one.at - other.at),
      windows: this.#windows,
      batches: [...this.#batches.values()],
      holds: this.#holds,
      typing: this.#typing,
      deeds: this.#deeds,
    };
  }

  #accepted(data, now) {
    const endsAt = now + data.fires_in * 1000;
    this.#messageAt = now;
    this.#dot(data.message_id, { at: now, endsAt, json: { ...data, at: new Date(now).toISOString() } });
    const open = this.#open();
    if (open === undefined) push(this.#windows, { from: now, to: endsAt, open: true, resets: 0 }, WINDOWS_MAX);
    else Object.assign(open, { to: Math.max(open.to, endsAt), resets: open.resets + 1 });
  }

  #fired(data, now) {
    const attempt = data.attempt ?? 1;
    const batch = this.#batch(data.batch_id);
    if (attempt === 1) {
      batch.seen = this.#open() !== undefined; // its messages are dots already
      this.#close(now);
    }
    Object.assign(batch, { messages: data.messages, reason: data.reason, seq: data.seq });
    batch.closedAt ??= now - (data.late_ms ?? 0);
    batch.attempts.set(attempt, { number: attempt, from: now, to: null, outcome: null, json: data });
  }

  #attempt(id, record) {
    const batch = this.#batch(id);
    const to = Date.parse(record.at);
    const known = batch.attempts.get(record.attempt);
    const from = record.duration_ms === null || record.duration_ms === undefined ? (known?.from ?? to) : to - record.duration_ms;
    batch.messages = record.messages ?? batch.messages;
    batch.retryAt = null; // where there is a retry, the service says so again
    batch.attempts.set(record.attempt, { number: record.attempt, from, to, outcome: record.outcome, status: record.status, reason: record.reason, json: record });
  }

  #underWay(summary, view, now) {
    const batch = this.#batch(summary.id);
    Object.assign(batch, { messages: summary.messages, reason: summary.reason, seq: summary.seq, closedAt: Date.parse(summary.closed_at) });
    batch.retryAt = summary.retry_in === null ? null : now + summary.retry_in * 1000;
    const number = Math.max(1, summary.attempts);
    if (summary.attempt_for !== null && !batch.attempts.has(number)) {
      batch.attempts.set(number, { number, from: now - summary.attempt_for * 1000, to: null, outcome: null, json: summary });
    }
  }

  #window(view, now) {
    const open = this.#open();
    if (view.state !== "collecting" || view.pending === 0 || view.fires_in === null) {
      if (view.pending === 0 || view.state !== "held") this.#close(now);
      return;
    }
    const end = now + view.fires_in * 1000;
    if (open === undefined) {
      push(this.#windows, { from: this.#firstWaiting(view, now), to: end, open: true, resets: 0 }, WINDOWS_MAX);
      return;
    }
    // A later end without a message: somebody is typing.
    if (end - open.to > EXTENDED_MS && now - this.#messageAt > 2_000) push(this.#typing, { at: now }, MARKS_MAX);
    if (Math.abs(end - open.to) > EXTENDED_MS) open.to = end;
  }

  /** When the window began: with its first message, which may have come before the page was open. */
  #firstWaiting(view, now) {
    const since = Date.parse(view.waiting_since ?? "");
    if (!Number.isNaN(since)) return Math.min(since, now);
    const waiting = [...this.#dots.values()].filter((dot) => dot.known).map((dot) => dot.at);
    return waiting.length > 0 ? Math.min(...waiting) : now;
  }

  #hold(view, now) {
    const last = this.#holds.at(-1);
    const open = last?.open ? last : undefined;
    if (view.held_for === null || view.held_for === undefined) {
      if (open) Object.assign(open, { open: false, to: Math.min(open.to, now) });
      return;
    }
    const to = now + view.held_for * 1000;
    if (open) open.to = to;
    else push(this.#holds, { from: now, to, open: true }, MARKS_MAX);
  }

  #open() {
    const last = this.#windows.at(-1);
    return last?.open ? last : undefined;
  }

  #close(now) {
    const open = this.#open();
    if (open) Object.assign(open, { open: false, to: Math.min(open.to, now) });
  }

  #batch(id) {
    if (!this.#batches.has(id)) this.#batches.set(id, { id, attempts: new Map(), closedAt: null, retryAt: null });
    if (this.#batches.size > BATCHES_MAX) this.#batches.delete(this.#batches.keys().next().value);
    return this.#batches.get(id);
  }

  #dot(id, dot) {
    this.#dots.set(id, { ...dot, id });
    if (this.#dots.size > DOTS_MAX) this.#dots.delete(this.#dots.keys().next().value);
  }
}

const ENDS_A_HOLD = new Set(["hold", "release", "erase"]);

/** `[holds, open]` with one more deed, the oldest first. */
function withDeed([holds, open], { deed, at, seconds }) {
  const from = Date.parse(at);
  if (open !== null && ENDS_A_HOLD.has(deed)) Object.assign(open, { open: false, to: Math.min(open.to, from) });
  if (deed !== "hold" || seconds === null) return [holds, ENDS_A_HOLD.has(deed) ? null : open];
  const hold = { from, to: from + seconds * 1000, open: true };
  return [[...holds, hold], hold];
}

function push(list, item, max) {
  list.push(item);
  if (list.length > max) list.shift();
}
