// One verb for many users: those that were picked, or all that match the filter. It is counted
// first, said, asked about, and done with progress and a way to stop.

import { Away, Problem, call } from "../api.js";
import { el } from "../dom.js";
import { counted, doForAll } from "./many.js";
import { sentenceOf } from "./panel.js";
import { calledOf, keyOf } from "./router.js";
import { ask, say } from "./say.js";
import { actButton } from "./session.js";
import { pathOf } from "./verbs.js";
import { t } from "./words.js";

const VERBS = ["flush", "hold", "release", "drop"];
const REQUESTS = {
  flush: (line) => call("POST", pathOf(line, "flush")),
  hold: (line) => call("POST", pathOf(line, "hold"), {}),
  release: (line) => call("POST", pathOf(line, "release")),
  drop: (line) => call("DELETE", pathOf(line)),
};

export class Bulk {
  #picked = new Map();
  #filter;
  #after;
  #stopped = false;
  isOpen = false;

  /** `filter` is the list's `FilterBar`; `after()` once something was done. */
  constructor(filter, after) {
    this.#filter = filter;
    this.#after = after;
    this.text = el("span", { class: "small" });
    this.verbs = el("div", { class: "row-verbs" });
    this.progress = el("progress", { hidden: true, "aria-label": t("bulk.progress") });
    this.stop = el("button", { class: "button small-button", type: "button", hidden: true, onclick: () => (this.#stopped = true) }, t("bulk.stop"));
    this.closed = el("button", { class: "button quiet", type: "button", "aria-expanded": "false", onclick: () => this.#open(!this.isOpen) });
    this.node = el("div", { class: "bulk" }, this.closed, this.text, this.progress, this.stop, this.verbs);
    this.#draw();
  }

  // The verbs for all are a press away, so that nobody presses them for one.
  #open(open) {
    this.isOpen = open;
    this.#draw();
  }

  isPicked(line) {
    return this.#picked.has(keyOf(line));
  }

  pick(line, picked) {
    if (picked) this.#picked.set(keyOf(line), line);
    else this.#picked.delete(keyOf(line));
    this.#draw();
  }

  redraw() {
    this.#draw();
  }

  clear() {
    this.#picked.clear();
    this.#draw();
  }

  #draw() {
    const n = this.#picked.size;
    const disabled = n === 0 && !this.#filter.isInForce;
    const all = disabled ? "bulk.refused" : "bulk.all";
    this.text.textContent = n > 0 ? t("bulk.picked", { n }) : t(all);
    this.closed.textContent = t("bulk.many");
    this.closed.hidden = n > 0;
    this.closed.setAttribute("aria-expanded", String(this.isOpen));
    this.text.hidden = this.verbs.hidden = n === 0 && !this.isOpen;
    this.verbs.replaceChildren(
      ...VERBS.map((verb) => actButton(t(`verb.${verb}`), () => (n > 0 ? this.#picks(verb) : this.#all(verb)), { "aria-label": `${t(`verb.${verb}`)}: ${this.text.textContent}`, disabled })),
      n > 0 ? el("button", { class: "button quiet", type: "button", onclick: () => this.clear() }, t("bulk.clear")) : "",
    );
  }

  async #picks(verb) {
    const lines = [...this.#picked.values()];
    if ((await ask(question(verb, lines.length))) === null) return;
    this.#stopped = false;
    let done = 0;
    let fault = null;
    this.#show(0, lines.length);
    for (const line of lines) {
      if (this.#stopped) break;
      try {
        await REQUESTS[verb](line);
        done += 1;
        this.#picked.delete(keyOf(line));
      } catch (error) {
        if (!(error instanceof Problem || error instanceof Away)) throw error;
        fault = `${calledOf(line)}: ${sentenceOf(error)}`;
        if (error instanceof Away || error.status === 403) break;
      }
      this.#show(done, lines.length);
    }
    this.#show(null);
    this.#draw();
    say(fault === null ? t("bulk.done", { n: done }) : t("bulk.fault", { n: done, fault }), fault === null ? "good" : "bad");
    this.#after();
  }

  async #all(verb) {
    const filter = this.#filter.given;
    const path = `api/users/${verb}`;
    try {
      const { n, unsure } = await counted(path, filter);
      if (n === 0) return say(t("bulk.nobody"));
      const asked = question(verb, n);
      if (unsure) asked.text = `${t("bulk.at-least")} ${asked.text}`;
      if ((await ask(asked)) === null) return;
      this.#stopped = false;
      this.#show(0, n);
      const done = await doForAll(path, filter, (sofar) => this.#show(Math.min(sofar, n), n), () => !this.#stopped);
      say(t("bulk.done", { n: done }));
    } catch (error) {
      if (!(error instanceof Problem || error instanceof Away)) throw error;
      say(error.status === 404 || error.status === 405 ? t("bulk.absent") : sentenceOf(error), "bad");
    }
    this.#show(null);
    this.#after();
  }

  #show(done, total) {
    this.progress.hidden = this.stop.hidden = done === null;
    if (done === null) return;
    this.progress.max = total;
    this.progress.value = done;
  }
}

const question = (verb, n) => ({
  title: t(`bulk.ask.${verb}`, { n }),
  text: t(`bulk.why.${verb}`),
  act: t(`verb.${verb}`),
  bad: verb === "drop",
  n,
});
