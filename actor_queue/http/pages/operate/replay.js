// Sending dead letters again as a whole: counted first, at a chosen pace, with progress and a way
// to stop. The service does it as a job of its own, so this page may be closed meanwhile.

import { Away, Problem, call } from "../api.js";
import { el } from "../dom.js";
import { counted, doForAll } from "./many.js";
import { quietly, sentenceOf } from "./panel.js";
import { ask, say } from "./say.js";
import { actButton } from "./session.js";
import { t } from "./words.js";

const PATH = "api/dead/replay";
const DROP = "api/dead/drop";
const PACE = 50;
const LOOK_MS = 1_000;

export class Replay {
  #filter;
  #after;
  #job = null;
  #timer = 0;
  #closed = false;

  /** `filter` is the list's `FilterBar`; `after()` once letters have gone. */
  constructor(filter, after) {
    this.#filter = filter;
    this.#after = after;
    this.text = el("span", { class: "small" });
    this.progress = el("progress", { "aria-label": t("replay.progress"), hidden: true });
    this.verbs = el("div", { class: "row-verbs" });
    this.node = el("section", { class: "bulk", "aria-label": t("replay.label") }, this.text, this.progress, this.verbs);
    this.draw();
  }

  async look() {
    clearTimeout(this.#timer);
    const before = this.#job;
    this.#job = await quietly(() => call("GET", PATH));
    if (this.#closed) return;
    this.draw();
    if (isOn(this.#job)) this.#timer = setTimeout(() => this.look(), LOOK_MS);
    else if (isOn(before)) this.#after();
  }

  close() {
    this.#closed = true;
    clearTimeout(this.#timer);
  }

  draw() {
    const job = this.#job;
    this.progress.hidden = !isOn(job);
    const disabled = !this.#filter.isInForce;
    this.text.textContent = !isOn(job) && disabled ? t("bulk.refused") : job === null ? t("replay.none") : t(`replay.${job.state}`, { n: job.replayed, total: job.total ?? "…" });
    if (job?.total) Object.assign(this.progress, { max: job.total, value: job.replayed });
    const stop = actButton(t("replay.stop"), () => this.#stop());
    const begin = actButton(t("replay.all"), () => this.begin(this.#filter.given), { disabled });
    const drop = actButton(t("dead.drop-all"), () => this.#drop(), { class: "button small-button danger", disabled });
    this.verbs.replaceChildren(...(isOn(job) ? [stop] : [begin, drop]));
  }

  /** Counts those that `filter` names, asks at which pace, and begins the job. */
  async begin(filter) {
    const { n, unsure } = await this.#count(PATH, filter);
    if (n === null) return;
    if (n === 0) return say(t("replay.nothing"));
    const fields = [{ name: "per_second", label: t("replay.pace"), type: "number", min: 1, max: 500, value: PACE, required: true }];
    const text = unsure ? `${t("bulk.at-least")} ${t("replay.text")}` : t("replay.text");
    const answer = await ask({ title: t("replay.ask", { n }), text, act: t("verb.replay"), n, fields });
    if (answer === null) return;
    await this.#do(async () => (this.#job = await call("POST", PATH, { ...filter, per_second: Number(answer.per_second) })));
    await this.look();
  }

  async #drop() {
    const filter = this.#filter.given;
    const { n } = await this.#count(DROP, filter);
    if (n === null) return;
    if (n === 0) return say(t("replay.nothing"));
    if ((await ask({ title: t("dead.drop-ask", { n }), text: t("drop.forever"), act: t("verb.drop"), bad: true, n })) === null) return;
    await this.#do(async () => {
      const done = await doForAll(DROP, filter, (sofar) => (this.text.textContent = t("bulk.done-letters", { n: sofar })));
      say(t("bulk.done-letters", { n: done }));
    });
    this.#after();
  }

  /** How many it would be; null, and said, where the service does not tell. */
  async #count(path, filter) {
    let count = { n: null, unsure: false };
    await this.#do(async () => (count = await counted(path, filter)));
    return count;
  }

  async #stop() {
    await this.#do(async () => (this.#job = await call("DELETE", PATH)));
    await this.look();
  }

  async #do(act) {
    try {
      await act();
    } catch (error) {
      if (!(error instanceof Problem || error instanceof Away)) throw error;
      say(sentenceOf(error), "bad");
    }
  }
}

const isOn = (job) => job !== null && (job.state === "running" || job.state === "stopping");
