// Dead letters out of the service as NDJSON, and their messages back in as new ones.

import { Away, Problem, call, callText } from "../api.js";
import { el, parseJson } from "../dom.js";
import { Panel, sentenceOf } from "./panel.js";
import { routeGiven } from "./router.js";
import { ask, say } from "./say.js";
import { actButton } from "./session.js";
import { t } from "./words.js";

const PAGE = 200;
const LETTERS_MAX = 20_000; // in one file, which this page holds in its memory until it is written
const CHARACTERS_MAX = 64 << 20;
const AT_ONCE = 8;
const LINES_PER_POST = 200;

/** What of the list is in no file yet: letters of the page that was read last, and the pages behind it. */
const BEGINNING = { part: 1, ids: [], cursor: null, goesOn: true, given: {} };

export class Exchange {
  #filter;
  #after;
  #stopped = false;
  #busy = false;
  #rest = null;
  #panel = new Panel(t("exchange.title"));

  /** `filter` is the list's `FilterBar`; `after()` once messages were sent. */
  constructor(filter, after) {
    this.#filter = filter;
    this.#after = after;
    this.node = this.#panel.node;
    this.#draw();
  }

  redraw() {
    if (!this.#busy) this.#draw();
  }

  #draw(progress = null) {
    const file = el("input", { type: "file", accept: ".ndjson,.jsonl,application/x-ndjson", class: "out-of-sight", tabindex: "-1", "aria-hidden": "true", onchange: () => this.#bringIn(file.files[0]) });
    const disabled = !this.#filter.isInForce;
    const out = actButton(t("exchange.out"), () => this.#takeOut({ ...BEGINNING, given: this.#filter.given }), { disabled });
    const next = this.#rest === null ? "" : actButton(t("exchange.next", { n: this.#rest.part }), () => this.#takeOut(this.#rest));
    const back = actButton(t("exchange.in"), () => file.click());
    const stop = el("button", { class: "button small-button", type: "button", onclick: () => (this.#stopped = true) }, t("bulk.stop"));
    const verbs = progress === null ? [out, next, back, file] : [el("span", { class: "small" }, progress), stop];
    const text = this.#rest === null ? t("exchange.text") : t("exchange.rest", { n: this.#rest.part });
    this.#panel.body.replaceChildren(el("p", { class: "muted" }, text), el("div", { class: "row-verbs" }, ...verbs));
  }

  /**
   * The letters from `rest` on, each with its batch, a line each, as many as one file may have. What
   * does not fit is the next file's. Texts are in it, so it needs `admin`.
   */
  async #takeOut(rest) {
    await this.#do(async () => {
      const lines = [];
      let characters = 0;
      this.#draw(t("exchange.progress", { n: 0 }));
      while ((rest.ids.length > 0 || rest.goesOn) && !this.#stopped && lines.length < LETTERS_MAX && characters < CHARACTERS_MAX) {
        if (rest.ids.length === 0) rest = await nextPage(rest);
        const letters = await Promise.all(rest.ids.slice(0, AT_ONCE).map(letterWithTexts));
        rest = { ...rest, ids: rest.ids.slice(AT_ONCE) };
        for (const letter of letters.filter((each) => each !== null)) {
          lines.push(`${JSON.stringify(letter)}\n`);
          characters += lines.at(-1).length;
        }
        this.#draw(t("exchange.progress", { n: lines.length }));
      }
      const whole = rest.ids.length === 0 && !rest.goesOn;
      const name = `dead-letters-${new Date().toISOString().slice(0, 19).replaceAll(":", "")}`;
      download(lines, whole && rest.part === 1 ? `${name}.ndjson` : `${name}-part-${rest.part}.ndjson`);
      this.#rest = whole ? null : { ...rest, part: rest.part + 1 };
      say(t(whole ? "exchange.done-out" : "exchange.part-out", { n: lines.length }), whole ? "good" : "bad");
    });
  }

  /** The messages of each letter as new ones, in their order. Repeating it adds none twice. */
  async #bringIn(file) {
    if (file === undefined) return;
    const { messages, wrong } = messagesIn(await file.text());
    if (wrong !== null) return say(t("exchange.wrong", { n: wrong }), "bad");
    if (messages.length === 0) return say(t("exchange.nothing"), "bad");
    if ((await ask({ title: t("exchange.ask", { n: messages.length }), text: t("exchange.why"), act: t("exchange.in"), n: messages.length })) === null) return this.#draw();
    await this.#do(async () => {
      let taken = 0;
      for (let i = 0; i < messages.length && !this.#stopped; i += LINES_PER_POST) {
        const results = await call("POST", "api/messages", messages.slice(i, i + LINES_PER_POST));
        taken += results.filter((result) => result.success).length;
        this.#draw(t("exchange.progress-in", { n: taken, total: messages.length }));
      }
      say(t("exchange.done-in", { n: taken, total: messages.length }), taken === messages.length ? "good" : "bad");
    });
    this.#after();
  }

  async #do(act) {
    this.#stopped = false;
    this.#busy = true;
    try {
      await act();
    } catch (error) {
      if (!(error instanceof Problem || error instanceof Away)) throw error;
      say(sentenceOf(error), "bad");
    }
    this.#busy = false;
    this.#draw();
  }
}

async function nextPage(rest) {
  const query = new URLSearchParams({ ...rest.given, limit: PAGE, ...(rest.cursor === null ? {} : { cursor: rest.cursor }) });
  const { dead, cursor } = await call("GET", `api/dead?${query}`);
  return { ...rest, ids: dead.map(({ id }) => id), cursor: cursor ?? null, goesOn: (cursor ?? null) !== null };
}

/** Null for one that was replayed or dropped meanwhile. Its numbers keep their digits, as in `messagesIn`. */
async function letterWithTexts(id) {
  try {
    return parseJson(await callText("GET", `api/dead/${encodeURIComponent(id)}?texts=true`));
  } catch (error) {
    if (error instanceof Problem && error.status === 404) return null;
    throw error;
  }
}

const OURS = new Set(["user", "user_id", "messages", "processed_at", "batch", "items", "seq", "received_at"]);

/** `wrong` is the number of the first line that is no dead letter. */
export function messagesIn(text) {
  const messages = [];
  for (const [i, line] of text.split("\n").entries()) {
    if (line.trim() === "") continue;
    try {
      const letter = parseJson(line);
      messages.push(...messagesOf(letter));
    } catch {
      return { messages: [], wrong: i + 1 };
    }
  }
  return { messages, wrong: null };
}

function messagesOf({ id, user, route, batch }) {
  if (typeof id !== "string" || typeof user !== "string" || !Array.isArray(batch.messages)) throw new TypeError("no dead letter");
  const named = routeGiven(route);
  const fields = Object.fromEntries(Object.entries(batch).filter(([name]) => !OURS.has(name)));
  return batch.messages.map((message, place) => ({ ...fields, ...(named === undefined ? {} : { route: named }), user, message, message_id: `${id}-${place}` }));
}

function download(lines, name) {
  const address = URL.createObjectURL(new Blob(lines, { type: "application/x-ndjson" }));
  const link = el("a", { href: address, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}
