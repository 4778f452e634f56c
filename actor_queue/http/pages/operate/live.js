// What happens, for whichever view is open; and whether we still hear it.

import { follow } from "../api.js";
import { byId } from "../dom.js";
import { t } from "./words.js";

const listeners = new Set();
const REFRESH_GAP_MS = 1_000;

let link = { state: "connecting", detail: "" };

/** `heard(name, data)` for each event. Returns how to stop. */
export function onEvent(heard) {
  listeners.add(heard);
  return () => listeners.delete(heard);
}

/** Follows the stream for as long as the page lives; `connected()` after each gap in it. */
export function followAll(connected) {
  follow(
    (name, data) => listeners.forEach((heard) => heard(name, data)),
    (state, detail = "") => {
      const before = link.state;
      link = { state, detail };
      showLink();
      if (before !== state && isUp(state)) connected();
    },
  );
}

export const isUp = (state = link.state) => state === "up" || state === "blind";

export function showLink() {
  byId("link").dataset.state = isUp() ? "up" : link.state;
  write(byId("link-text"), t(`link.${link.state}`));
  const trouble = byId("trouble");
  trouble.hidden = link.state !== "away" && link.state !== "degraded";
  trouble.dataset.tone = link.state === "away" ? "bad" : "warn";
  const text = link.state === "away" ? t("trouble.away") : t("trouble.degraded", { detail: link.detail });
  if (!trouble.hidden) write(trouble, text);
}

function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/**
 * `load(fresh)`: again after something happened, at most once a second and never twice at once, and
 * every `everyMs` besides. While the page cannot be seen it rests. `fresh` is false where an answer
 * will do that was read less than `REFRESH_GAP_MS` ago: what has happened since is loaded next.
 */
export class Refresher {
  #load;
  #timer = 0;
  #every;
  #busy = false;
  #again = false;
  #closed = false;

  constructor(load, everyMs) {
    this.#load = load;
    this.#every = setInterval(() => this.soon(), everyMs);
  }

  soon() {
    if (this.#closed || document.hidden) return;
    if (this.#timer !== 0) {
      this.#again = true; // the answer that comes may have been read just before
      return;
    }
    this.#timer = setTimeout(() => this.now(false), REFRESH_GAP_MS);
  }

  async now(fresh = true) {
    clearTimeout(this.#timer);
    this.#timer = 0;
    if (this.#closed) return;
    if (this.#busy) {
      this.#again = true;
      return;
    }
    this.#busy = true;
    try {
      await this.#load(fresh);
    } finally {
      this.#busy = false;
      if (this.#again) {
        this.#again = false;
        this.soon();
      }
    }
  }

  close() {
    this.#closed = true;
    clearTimeout(this.#timer);
    clearInterval(this.#every);
  }
}
