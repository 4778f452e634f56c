// Dead letters: what nobody tries any more, grouped by why, and the way back.

import { call, callList, callText } from "../api.js";
import { el } from "../dom.js";
import { answerOf } from "./attempt-rows.js";
import { Exchange } from "./exchange.js";
import { FilterBar } from "./filter.js";
import { gather } from "./gather.js";
import { openLetter } from "./letter.js";
import { Refresher, onEvent } from "./live.js";
import { Pager } from "./pager.js";
import { Panel } from "./panel.js";
import { reasonOf } from "./reason.js";
import { Replay } from "./replay.js";
import { calledOf, restate, routeChip, userAddress } from "./router.js";
import { ask } from "./say.js";
import { actButton } from "./session.js";
import { isInUse } from "./steady.js";
import { moment, took } from "./time.js";
import { attempt } from "./verbs.js";
import { t } from "./words.js";

const PAGE = 100;
const AT_ONCE_MS = 60_000; // what died within a minute has one moment
const GROUPS_MAX = 60; // tiles; whatever died alone is in the list
const EVERY_MS = 10_000;
const KNOWN = ["user", "route", "reason", "status", "since"];

const pathOf = (id, verb = "") => `api/dead/${encodeURIComponent(id)}${verb && `/${verb}`}`;

export function open(params) {
  const list = new Panel("", { class: "flush" });
  const filter = new FilterBar(KNOWN, params.get("q") ?? "", filtered, [[t("filter.all"), {}]]);
  const replay = new Replay(filter, () => done());
  filter.edited = () => { replay.draw(); exchange.redraw(); };
  const exchange = new Exchange(filter, () => refresher.now());
  const pager = new Pager(() => done());
  const groups = el("ul", { class: "groups", "aria-label": t("dead.groups") });
  const rows = el("ul", { class: "rows letters", "aria-label": t("page.dead") });
  const empty = el("p", { class: "hollow" });
  list.body.append(rows, empty, pager.node);
  const counted = el("p", { class: "muted small", hidden: true });
  const grouped = new Panel("", { class: "flush" });
  grouped.body.append(groups, counted);
  let letters = [];
  let told = { groups: [], letters: 0, cursor: null };
  let groupedAt = -Infinity; // counting groups reads up to a thousand letters, so it is not done at each event
  let acted = false;

  function done() {
    acted = true;
    refresher.now();
  }

  async function load(fresh) {
    const regroup = acted || performance.now() - groupedAt >= EVERY_MS;
    await list.fill(async () => {
      const { found, cursor } = await gather("api/dead", "dead", filter.given, PAGE, pager.cursor, fresh);
      letters = found;
      pager.found(found.length, cursor);
      draw(acted);
      acted = false;
    });
    if (regroup) await grouped.fill(async () => {
      groupedAt = performance.now();
      told = (await callList(`api/dead/groups?${new URLSearchParams(filter.given)}`, fresh)).answer;
      drawGroups();
    });
    await replay.look();
  }

  /** `forced`: somebody has just done something here, and wants to see it. */
  function draw(forced = false) {
    empty.hidden = letters.length > 0;
    empty.textContent = Object.keys(filter.given).length > 0 ? t("dead.none-match") : t("dead.none");
    if (!forced && rows.childElementCount > 0 && isInUse(rows)) return;
    rows.replaceChildren(...letters.map((letter) => row(letter, done)));
  }

  // Nothing is redrawn under the hand of somebody who is about to press a group.
  function drawGroups(forced = false) {
    grouped.node.hidden = told.groups.length === 0;
    counted.hidden = told.cursor === null;
    counted.textContent = t("dead.part", { n: told.letters });
    if (!forced && groups.childElementCount > 0 && isInUse(groups)) return;
    groups.replaceChildren(...told.groups.slice(0, GROUPS_MAX).map((group) => groupTile(group, filter, replay)));
  }

  function filtered(given, said) {
    restate("dead", { q: said });
    pager.reset();
    replay.draw();
    exchange.redraw();
    done();
  }

  const refresher = new Refresher(load, EVERY_MS);
  const stop = onEvent((name) => (name === "dead" || name === "delivered") && refresher.soon());
  refresher.now();
  return {
    node: el("div", { class: "view" }, el("h1", {}, t("page.dead")), filter.node, replay.node, grouped.node, list.node, exchange.node),
    filter: filter.field,
    refresh: () => refresher.now(),
    redraw: () => { draw(true); drawGroups(true); replay.draw(); exchange.redraw(); },
    close: () => { stop(); refresher.close(); replay.close(); },
  };
}

/** What died of the same thing on the same route: a press shows those letters, another one sends them again. */
function groupTile(group, filter, replay) {
  const { route, reason, status } = group;
  const given = { route, ...(reason === "" ? {} : { reason }), ...(status === null ? {} : { status: String(status) }) };
  const see = el("button", { class: "tile-see", type: "button", onclick: () => filter.put(given) }, el("strong", { class: "tile-number" }, group.letters.toLocaleString()), el("span", { class: "tile-label" }, reasonOf(reason) || t("why.unknown")));
  const times = Date.parse(group.newest) - Date.parse(group.oldest) < AT_ONCE_MS ? [moment(group.newest)] : [moment(group.oldest), " – ", moment(group.newest)];
  const name = `${t("verb.replay")}: ${route}, ${reason}`;
  return el(
    "li",
    { class: "tile", data: { tone: "bad" } },
    see,
    el("p", { class: "tile-detail small" }, el("span", { class: "chip route-name" }, route), status === null ? "" : el("span", { class: "chip" }, String(status)), " ", t("count.messages", { n: group.messages })),
    el("p", { class: "tile-detail small" }, ...times),
    el("div", { class: "row-verbs" }, actButton(t("verb.replay"), () => replay.begin(given), { "aria-label": name, disabled: group.queued === group.letters })),
  );
}

function row(letter, after) {
  const named = (verb) => ({ "aria-label": `${t(`verb.${verb}`)}: ${calledOf(letter)}, ${letter.id}` });
  const again = actButton(t("verb.replay"), () => attempt(() => call("POST", pathOf(letter.id, "replay")), t("done.replay", { user: calledOf(letter) })).then(after), { ...named("replay"), disabled: letter.queued });
  const gone = actButton(t("verb.drop"), () => drop(letter).then(after), named("drop"));
  const see = actButton(t("texts.show"), () => openLetter(letter.id), { "aria-label": `${t("texts.show")}: ${calledOf(letter)}, ${letter.id}` });
  const facts = [t("dead.attempts", { n: letter.attempts }), letter.duration_ms === null ? "" : took(letter.duration_ms), t("count.messages", { n: letter.messages })].filter(Boolean).join(" · ");
  return el(
    "li",
    { class: "row" },
    el("div", { class: "row-head" }, el("a", { class: "row-link", href: userAddress(letter), title: letter.user }, letter.user), routeChip(letter), letter.queued ? el("span", { class: "chip", data: { tone: "calm" } }, t("dead.queued")) : ""),
    el("span", { class: "row-clock muted small" }, moment(letter.died_at)),
    el("div", { class: "row-why" }, el("p", {}, reasonOf(letter.reason)), answerOf(letter)),
    el("p", { class: "muted small row-id" }, facts, " · ", el("code", {}, letter.id)),
    el("div", { class: "row-verbs" }, again, see, gone),
  );
}

async function drop(letter) {
  const question = { title: t("dead.drop.title", { user: calledOf(letter) }), text: t("drop.text", { n: letter.messages }), act: t("verb.drop"), bad: true };
  if ((await ask(question)) === null) return false;
  return attempt(() => callText("DELETE", pathOf(letter.id)), t("done.dead-drop"));
}
