// The first thing on Waiting: how many wait, and what is wrong, each a press away from its list.

import { call, callList } from "../api.js";
import { el } from "../dom.js";
import { findingOf } from "./doctor.js";
import { Refresher } from "./live.js";
import { quietly } from "./panel.js";
import { reasonOf } from "./reason.js";
import { addressOf } from "./router.js";
import { lasting } from "./time.js";
import { t } from "./words.js";

const EVERY_MS = 10_000;
const TURNS_PER_CHECKUP = 3;
const LOOKED_AT = 50;
const TROUBLE = new Set(["failed", "dead", "divided"]);

export class Stuck {
  #turn = 0;
  #tiles = new Map();
  #refresher = new Refresher((fresh) => this.#load(fresh), EVERY_MS);

  /** `filter(given)` when a tile is pressed. */
  constructor(filter) {
    this.tiles = el("div", { class: "tiles" });
    this.wrong = el("p", { class: "trouble", hidden: true });
    this.node = el("section", { class: "stuck", "aria-label": t("stuck.label") }, this.wrong, this.tiles);
    this.#tile("waiting", "button", { onclick: () => filter({}) });
    this.#tile("retrying", "button", { onclick: () => filter({ state: "retrying" }) });
    this.#tile("held", "button", { onclick: () => filter({ state: "held" }) });
    this.#tile("dead", "a", { href: addressOf("dead") });
    this.#refresher.now();
  }

  happened(name) {
    if (TROUBLE.has(name)) this.#refresher.soon();
  }

  refresh() {
    this.#refresher.now();
  }

  close() {
    this.#refresher.close();
  }

  #tile(name, tag, props) {
    const number = el("strong", { class: "tile-number" }, "…");
    const detail = el("span", { class: "tile-detail small" });
    const label = el("span", { class: "tile-label" }, t(`tile.${name}`));
    const node = el(tag, { class: "tile", ...(tag === "button" ? { type: "button" } : {}), ...props, data: { tile: name } }, number, label, detail);
    this.#tiles.set(name, { node, number, detail });
    this.tiles.append(node);
  }

  #say(name, number, detail = "", tone = "") {
    const tile = this.#tiles.get(name);
    if (tile.number.textContent !== number) tile.number.textContent = number;
    if (tile.detail.textContent !== detail) tile.detail.textContent = detail;
    tile.node.dataset.tone = tone;
  }

  async #load(fresh) {
    const list = (path) => quietly(async () => (await callList(path, fresh)).answer);
    const [shards, retrying, held, dead, checkup] = await Promise.all([
      list("api/shards"),
      list(`api/users?state=retrying&limit=${LOOKED_AT}`),
      list(`api/users?state=held&limit=${LOOKED_AT}`),
      list(`api/dead?limit=${LOOKED_AT}`),
      this.#turn++ % TURNS_PER_CHECKUP === 0 ? quietly(() => call("GET", "api/doctor")) : undefined,
    ]);
    this.#sayWaiting(shards);
    this.#sayRetrying(retrying);
    this.#sayHeld(held);
    this.#sayDead(dead);
    if (checkup !== undefined) this.#sayWrong(checkup);
  }

  /** What the doctor calls wrong: messages wait for it, or are refused. */
  #sayWrong(checkup) {
    const wrong = checkup?.findings.filter(({ level }) => level === "fail") ?? [];
    this.wrong.hidden = wrong.length === 0;
    if (wrong.length === 0) return;
    const link = el("a", { href: addressOf("doctor") }, t("page.doctor"));
    const { check, text, lang } = findingOf(wrong[0]);
    this.wrong.replaceChildren(link, ": ", el("span", { lang }, `${check}: ${text}`), wrong.length > 1 ? ` (+${wrong.length - 1})` : "");
  }

  #sayWaiting(shards) {
    if (shards === null) return this.#say("waiting", "?");
    const waiting = shards.shards.reduce((sum, shard) => sum + shard.waiting, 0);
    const orphans = shards.shards.filter((shard) => shard.owner === null && shard.waiting > 0).length;
    if (orphans > 0) this.#say("waiting", waiting.toLocaleString(), t("stuck.orphans", { n: orphans }), "bad");
    else this.#say("waiting", waiting.toLocaleString(), t("stuck.users"));
  }

  #sayRetrying(page) {
    if (page === null) return this.#say("retrying", "?");
    const worst = mostOf(page.users.map(({ batch }) => reasonOf(batch?.failure ?? t("why.unknown"))));
    const n = page.users.length;
    this.#say("retrying", numberOf(page.users, page), worst ?? calm(page), n > 0 ? "warn" : "");
  }

  #sayHeld(page) {
    if (page === null) return this.#say("held", "?");
    const longest = Math.max(0, ...page.users.map((line) => line.held_for ?? 0));
    const kept = page.users.reduce((sum, line) => sum + line.pending, 0);
    const detail = page.users.length === 0 ? calm(page) : t("stuck.held", { n: kept, duration: lasting(longest) });
    this.#say("held", numberOf(page.users, page), detail, page.users.length > 0 ? "calm" : "");
  }

  #sayDead(page) {
    if (page === null) return this.#say("dead", "?");
    const worst = mostOf(page.dead.map((letter) => reasonOf(letter.reason)));
    this.#say("dead", numberOf(page.dead, page), worst ?? calm(page), page.dead.length > 0 ? "bad" : "");
  }
}

/** A list that was not looked through to its end says of nobody behind that. */
const calm = ({ cursor }) => t(cursor === null || cursor === undefined ? "stuck.calm" : "stuck.part");

const numberOf = (found, { cursor }) => `${found.length}${cursor === null || cursor === undefined ? "" : "+"}`;

/** What occurs most among `texts`, with how many times; null where there are none. */
function mostOf(texts) {
  const times = new Map();
  for (const text of texts) times.set(text, (times.get(text) ?? 0) + 1);
  const [most] = [...times].sort((one, other) => other[1] - one[1]);
  return most === undefined ? null : `${most[0]} (${most[1]})`;
}
