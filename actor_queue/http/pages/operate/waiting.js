// Waiting: who waits, soonest first. A window over any number of users: the page holds one page
// of them and the cursors before it, and asks for nothing that grows with how many there are.

import { el } from "../dom.js";
import { Bulk } from "./bulk.js";
import { FilterBar } from "./filter.js";
import { gather } from "./gather.js";
import { Refresher, onEvent } from "./live.js";
import { Pager } from "./pager.js";
import { Panel } from "./panel.js";
import { calledOf, restate, userAddress } from "./router.js";
import { Rows } from "./rows.js";
import { Stuck } from "./stuck.js";
import { t } from "./words.js";

const PAGE = 50;
const EVERY_MS = 5_000;
const KNOWN = ["user", "route", "state", "since"];
const CHANGES = new Set(["accepted", "fired", "delivered", "failed", "divided", "dead", "dropped"]);

export function open(params) {
  const text = params.get("q") ?? "";
  const list = new Panel("", { class: "flush" });
  const stuck = new Stuck((given) => filter.put(given));
  const filter = new FilterBar(KNOWN, text, filtered, [
    [t("filter.all"), {}],
    [t("state.retrying"), { state: "retrying" }],
    [t("state.held"), { state: "held" }],
  ]);
  const bulk = new Bulk(filter, () => refresher.now());
  filter.edited = () => bulk.redraw();
  const rows = new Rows(bulk, () => refresher.soon());
  const pager = new Pager(() => refresher.now());
  const empty = el("p", { class: "hollow" });
  list.body.append(rows.node, empty, pager.node);

  async function load(fresh) {
    await list.fill(async () => {
      const { found, cursor, at } = await gather("api/users", "users", filter.given, PAGE, pager.cursor, fresh);
      rows.show(found, at);
      pager.found(found.length, cursor);
      empty.hidden = found.length > 0;
      const { user, route } = filter.given;
      const others = user === undefined ? "" : el("a", { href: userAddress({ user, route }) }, t("waiting.open", { user: calledOf({ user, route }) }));
      empty.replaceChildren(emptyText(cursor, Object.keys(filter.given).length > 0), " ", others);
    });
  }

  function filtered(given, said) {
    restate("waiting", { q: said });
    bulk.clear();
    pager.reset();
    refresher.now();
  }

  const refresher = new Refresher(load, EVERY_MS);
  const stop = onEvent((name) => {
    if (CHANGES.has(name)) refresher.soon();
    stuck.happened(name);
  });
  refresher.now();
  const heading = el("h1", {}, t("page.waiting"));
  return {
    node: el("div", { class: "view" }, heading, stuck.node, filter.node, bulk.node, list.node),
    filter: filter.field,
    refresh: () => { refresher.now(); stuck.refresh(); },
    redraw: () => { rows.redraw(); bulk.redraw(); },
    close: () => { stop(); refresher.close(); stuck.close(); },
  };
}

function emptyText(cursor, isFiltered) {
  if (cursor !== null) return t("waiting.none-here");
  return isFiltered ? t("waiting.none-match") : t("waiting.none");
}
