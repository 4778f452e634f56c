// The dial: how long until a user's next step, and what that step is.

import { byId, count, duration } from "./dom.js";
import { mayAct } from "./scopes.js";

const STILL = matchMedia("(prefers-reduced-motion: reduce)");
const ARC_WHILE_SENDING = 28;

/** Shows one person at a time; `show` may be called at any moment and as often as you like. */
export class Timer {
  #person = null;
  #frame = 0;

  show(person) {
    this.#person = person;
    byId("timer").dataset.state = person.state;
    byId("state").textContent = person.state;
    byId("state").dataset.tone = TONES[person.state] ?? "";
    byId("flush").textContent = person.state === "retrying" ? "Try now" : "Send now";
    byId("flush").disabled = !canFlush(person) || !mayAct();
    byId("hold").textContent = isHeld(person) ? "Release" : "Hold";
    this.#tick();
  }

  /** The wait began again: visible even when the new end is close to the old one. */
  again() {
    for (const node of [byId("ripple"), byId("seconds")]) {
      node.classList.remove("again");
      node.getBoundingClientRect(); // so that the browser starts the animation anew
      node.classList.add("again");
    }
  }

  #tick() {
    cancelAnimationFrame(this.#frame);
    const person = this.#person;
    const left = secondsLeft(person);
    say(person);
    draw(person, left);
    if (left !== null) this.#frame = requestAnimationFrame(() => this.#tick());
  }
}

const TONES = { collecting: "good", delivering: "good", retrying: "warn", held: "calm" };

export const isHeld = (person) => person.heldUntil !== null && person.heldUntil > performance.now();

const canFlush = (person) =>
  !isHeld(person) && (person.state === "retrying" || (person.pending > 0 && person.state !== "delivering"));

function secondsLeft(person) {
  const end = person.state === "held" ? person.heldUntil : person.deadline;
  if (end === null || person.state === "idle" || person.state === "delivering") return null;
  return Math.max(0, (end - performance.now()) / 1000);
}

function draw(person, left) {
  const [reading, unit, isWord] = readingOf(person, left);
  write("seconds", reading);
  write("unit", unit);
  byId("seconds").classList.toggle("word", isWord);
  byId("ring").setAttribute("stroke-dasharray", `${arc(person, left)} 200`);
}

function readingOf(person, left) {
  if (person.state === "idle") return ["quiet", "", true];
  if (person.state === "delivering" || left === null) return ["sending", "", true];
  if (person.state === "held") return ["held", duration(left, 0), true];
  if (left === 0) return ["now", "", true];
  const unit = person.state === "retrying" ? "to next try" : "seconds";
  if (left < 100) return [left.toFixed(left < 10 && !STILL.matches ? 1 : 0), unit, false];
  return [duration(left), person.state === "retrying" ? unit : "", true];
}

function arc(person, left) {
  if (person.state === "idle") return 0;
  if (left === null) return ARC_WHILE_SENDING;
  if (person.state === "held") return 100;
  const part = left / Math.max(person.windowS, 0.001);
  const shown = STILL.matches ? Math.ceil(part * 20) / 20 : part;
  return Math.min(100, 100 * shown);
}

function say(person) {
  const [title, text] = STORIES[person.state]?.(person) ?? ["", ""];
  write("timer-title", title);
  write("timer-text", text);
}

const STORIES = {
  idle: (person) => [
    "Nothing is waiting",
    person.delivered > 0
      ? `${count(person.delivered, "webhook")} left for ${person.name} since you opened this page.`
      : "Each message starts the wait again. When the wait ends, everything goes out as one webhook.",
  ],
  collecting: (person) => [
    `${count(person.pending, "message")} waiting`,
    person.resets === 0
      ? "One more message and the wait begins again."
      : `The wait began again ${times(person.resets)}. All of it will be one webhook.`,
  ],
  delivering: (person) => [
    person.batch ? `Sending ${count(person.batch.messages, "message")}` : "Sending",
    `One webhook, in the order they were written.${behind(person)}`,
  ],
  retrying: (person) => [
    "The receiver did not take it",
    `${failure(person)}The same webhook is sent again.${behind(person)}`,
  ],
  held: (person) => [
    person.pending === 0 ? "Held, nothing waiting" : `${count(person.pending, "message")} held back`,
    "Messages collect, nothing goes out until you release.",
  ],
};

const times = (n) => (n === 1 ? "once" : n === 2 ? "twice" : `${n} times`);

const behind = (person) =>
  person.pending === 0 ? "" : ` ${count(person.pending, "newer message")} wait${person.pending === 1 ? "s" : ""} behind it.`;

function failure(person) {
  const batch = person.batch;
  if (!batch) return "";
  const reason = person.recent.find((record) => record.batch_id === batch.id)?.reason;
  return reason ? `Attempt ${batch.attempts}: ${reason}. ` : `Attempt ${batch.attempts} failed. `;
}

function write(id, text) {
  const node = byId(id);
  if (node.textContent !== text) node.textContent = text;
}
