// The conversation as a picture. Time runs to the right; from above: the messages, the quiet
// window that stretches at each of them, the batches with their attempts, holds and deeds.

import { el } from "../dom.js";
import { scaleOf } from "./scale.js";
import { exactText, lasting, took } from "./time.js";
import { t } from "./words.js";

const SVG = "http://www.w3.org/2000/svg";
const MARGIN = 26;
const LANES = { axis: 14, dots: 46, window: 70, batch: 112, hold: 154 };
const HEIGHT = 182;
const PX_PER_MOMENT = 22;
const WIDTH_MAX = 6_000;
const TONES = { delivered: "good", failed: "warn", retry: "warn", divided: "warn", dead: "bad" };

export class Picture {
  #chosen;
  #drawn = "";
  #bar = shape("rect", { class: "window open", y: LANES.window, height: 14, rx: 7 });
  #marks = [];

  /** `chosen({title, json})` when a mark is pressed. */
  constructor(chosen) {
    this.#chosen = chosen;
    this.still = shape("g");
    this.svg = shape("svg", { height: HEIGHT, role: "group", "aria-label": t("picture.label") });
    this.svg.append(this.still, this.#bar);
    this.frame = el("div", { class: "picture", tabindex: "0", role: "region", "aria-label": t("picture.label") }, this.svg);
    this.empty = el("p", { class: "hollow" }, t("picture.empty"));
    this.node = el("div", {}, this.empty, this.frame, legend());
    this.svg.addEventListener("keydown", (event) => this.#move(event));
  }

  /** `story` as `Past.story` gives it; `grew`: a message has just come. */
  draw(story, grew = false) {
    const moments = momentsOf(story);
    this.empty.hidden = moments.length > 1;
    this.frame.hidden = moments.length <= 1;
    if (this.frame.hidden) return;
    const shown = this.frame.clientWidth || 800;
    const width = Math.max(shown, Math.min(WIDTH_MAX, moments.length * PX_PER_MOMENT)) - 2 * MARGIN;
    const scale = scaleOf(moments, width);
    const x = (at) => MARGIN + scale.x(at);
    const atEnd = this.frame.scrollLeft + this.frame.clientWidth >= this.frame.scrollWidth - 24;
    this.svg.setAttribute("width", width + 2 * MARGIN);
    this.#drawStill(story, scale, x);
    this.#drawOpen(story, x, grew);
    if (atEnd || grew) this.frame.scrollLeft = this.frame.scrollWidth;
  }

  #drawStill(story, scale, x) {
    const signature = JSON.stringify([story, this.svg.getAttribute("width")], (_, value) => (value instanceof Map ? [...value] : value));
    if (signature === this.#drawn) return;
    this.#drawn = signature;
    const focused = this.#marks.findIndex((mark) => mark === document.activeElement);
    this.#marks = [];
    this.still.replaceChildren(
      ...axis(scale),
      nowLine(x(story.now)),
      ...story.windows.filter((window) => !window.open).map((window) => bar("window", window, LANES.window, 14, x)),
      ...story.holds.map((hold) => bar("hold", { ...hold, to: Math.min(hold.to, hold.open ? story.now : hold.to) }, LANES.hold, 12, x)),
      ...story.typing.map(({ at }) => shape("path", { class: "typing", d: `M${x(at)} ${LANES.window - 5}v24` })),
      ...story.batches.flatMap((batch) => this.#batch(batch, story.now, x)),
      ...story.batches.filter((batch) => !batch.seen).flatMap((batch) => this.#unseen(batch, x)),
      ...story.deeds.map((deed) => this.#mark(shape("path", { class: "deed", d: diamond(x(Date.parse(deed.at)), LANES.hold + 6) }), t("picture.deed", { deed: t(`deed.${deed.deed}`) }), deed)),
      ...story.dots.map((dot) => this.#mark(shape("circle", { class: "dot", cx: x(dot.at), cy: LANES.dots, r: 6 }), t("picture.message", { at: exactText(dot.at) }), dot.json)),
    );
    this.#rove(Math.max(0, focused));
    if (focused >= 0) this.#marks[focused]?.focus();
  }

  #batch(batch, now, x) {
    const attempts = [...batch.attempts.values()];
    const from = beginOf(batch);
    const ends = attempts.map((attempt) => attempt.to ?? now);
    const to = Math.max(from, batch.retryAt ?? 0, ...ends);
    const spine = shape("path", { class: "spine", d: `M${x(from)} ${LANES.batch + 10}H${x(to)}` });
    const retry = batch.retryAt ? [shape("circle", { class: "retry", cx: x(batch.retryAt), cy: LANES.batch + 10, r: 5 })] : [];
    return [spine, ...retry, ...attempts.map((attempt) => this.#attempt(batch, attempt, now, x))];
  }

  /** A batch whose messages came before this page: how many they were, and not when they came. */
  #unseen(batch, x) {
    const at = beginOf(batch);
    const mark = this.#mark(shape("circle", { class: "unseen", cx: x(at), cy: LANES.dots, r: 11 }), t("picture.unseen", { n: batch.messages ?? 0 }), { batch_id: batch.id, messages: batch.messages ?? null });
    const number = shape("text", { class: "number", x: x(at), y: LANES.dots + 4 });
    number.textContent = batch.messages ?? "?";
    return [mark, number];
  }

  #attempt(batch, attempt, now, x) {
    const left = x(attempt.from);
    const width = Math.max(8, x(attempt.to ?? now) - left);
    const rect = shape("rect", { class: "attempt", x: left, y: LANES.batch, width, height: 20, rx: 5, "data-tone": TONES[attempt.outcome] ?? "" });
    const ended = attempt.to === null ? t("outcome.under way") : `${t(`outcome.${attempt.outcome}`)} ${attempt.status ?? ""}`.trim();
    const lasted = attempt.to === null ? "" : ` · ${took(attempt.to - attempt.from)}`;
    const title = t("picture.attempt", { n: attempt.number, ended }) + lasted + (batch.messages ? ` · ${t("count.messages", { n: batch.messages })}` : "");
    return this.#mark(rect, title, attempt.json);
  }

  #drawOpen({ windows }, x, grew) {
    const open = windows.at(-1)?.open ? windows.at(-1) : null;
    this.#bar.style.display = open === null ? "none" : "";
    if (open === null) return;
    this.#bar.dataset.to = String(Math.round(open.to));
    this.#bar.style.x = `${x(open.from)}px`;
    this.#bar.style.width = `${Math.max(6, x(open.to) - x(open.from))}px`;
    if (!grew) return;
    this.#bar.classList.remove("stretched");
    this.#bar.getBoundingClientRect(); // so that the browser begins the animation anew
    this.#bar.classList.add("stretched");
  }

  #mark(node, title, json) {
    node.append(shape("title"));
    node.firstChild.textContent = title;
    node.setAttribute("role", "button");
    node.setAttribute("aria-label", title);
    node.setAttribute("tabindex", "-1");
    node.addEventListener("click", () => this.#chosen({ title, json }));
    this.#marks.push(node);
    return node;
  }

  // One stop for Tab; the arrows go from mark to mark.
  #rove(place) {
    this.#marks[Math.min(place, this.#marks.length - 1)]?.setAttribute("tabindex", "0");
  }

  #move(event) {
    const place = this.#marks.indexOf(event.target);
    if (place < 0) return;
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      event.target.dispatchEvent(new MouseEvent("click"));
    }
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const next = this.#marks[place + (step ?? 0)];
    if (step === undefined || next === undefined) return;
    event.preventDefault();
    event.target.setAttribute("tabindex", "-1");
    next.setAttribute("tabindex", "0");
    next.focus();
  }
}

const beginOf = (batch) => batch.closedAt ?? Math.min(...[...batch.attempts.values()].map(({ from }) => from));

function momentsOf(story) {
  const attempts = story.batches.flatMap((batch) => [batch.closedAt, batch.retryAt, ...[...batch.attempts.values()].flatMap(({ from, to }) => [from, to])]);
  const spans = story.windows.flatMap(({ from, to }) => [from, to]);
  const holds = story.holds.map(({ from, to, open }) => (open ? from : to));
  const deeds = story.deeds.map((deed) => Date.parse(deed.at));
  const all = [...attempts, ...spans, ...holds, ...deeds, ...story.dots.map(({ at }) => at)].filter((at) => Number.isFinite(at));
  return all.length === 0 ? [] : [...all, story.now];
}

function* axis({ ticks, breaks, width }) {
  for (const { x: place, at } of ticks) {
    const left = place + 60 > width ? width - 60 : place; // room for the text of the last
    const text = shape("text", { class: "tick", x: MARGIN + left, y: LANES.axis });
    text.textContent = exactText(at);
    yield text;
    yield shape("path", { class: "grid", d: `M${MARGIN + place} ${LANES.axis + 6}V${HEIGHT - 6}` });
  }
  for (const { x: place, ms } of breaks) {
    yield shape("path", { class: "break", d: `M${MARGIN + place - 3} 24l4 8l-4 8l4 8M${MARGIN + place + 3} 24l4 8l-4 8l4 8` });
    const text = shape("text", { class: "pause", x: MARGIN + place, y: HEIGHT - 2 });
    text.textContent = lasting(ms / 1000);
    yield text;
  }
}

const nowLine = (at) => shape("path", { class: "now-line", d: `M${at} ${LANES.axis + 6}V${HEIGHT - 12}` });

const bar = (kind, { from, to }, y, height, x) =>
  shape("rect", { class: kind, x: x(from), y, width: Math.max(6, x(to) - x(from)), height, rx: height / 2 });

const diamond = (x, y) => `M${x} ${y - 7}l7 7l-7 7l-7 -7z`;

function legend() {
  const kinds = ["dot", "window", "attempt", "hold"];
  return el("ul", { class: "legend small muted" }, ...kinds.map((kind) => el("li", { data: { kind } }, t(`legend.${kind}`))));
}

function shape(tag, props = {}) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(props)) node.setAttribute(name, String(value));
  return node;
}
