// Attempts: the last ones of all users, newest first.

import { serverNow } from "../clock.js";
import { el } from "../dom.js";
import { attemptRows } from "./attempt-rows.js";
import { FilterBar } from "./filter.js";
import { findings } from "./find.js";
import { gather } from "./gather.js";
import { Refresher, onEvent } from "./live.js";
import { Pager } from "./pager.js";
import { Panel } from "./panel.js";
import { restate } from "./router.js";
import { isInUse } from "./steady.js";
import { t } from "./words.js";

const PAGE = 50;
const EVERY_MS = 10_000;
const KNOWN = ["user", "outcome", "status", "route", "since", "id"];
const ENDS = new Set(["delivered", "failed", "divided", "dead"]);

const AGO = /^(\d+)([smhd])$/;
const UNIT_S = { s: 1, m: 60, h: 3_600, d: 86_400 };

/** `since:10m` is a moment to the service. */
function asked({ since, ...given }) {
  const [, n, unit] = since?.match(AGO) ?? [];
  if (n === undefined) return since === undefined ? given : { ...given, since };
  return { ...given, since: Math.round(serverNow() / 1000 - Number(n) * UNIT_S[unit]) };
}

export function open(params) {
  const list = new Panel("", { class: "flush" });
  const filter = new FilterBar(KNOWN, params.get("q") ?? "", filtered, [
    [t("filter.all"), {}],
    [t("outcome.failed"), { outcome: "failed" }],
    [t("outcome.dead"), { outcome: "dead" }],
  ]);
  const pager = new Pager(() => { fresh = true; refresher.now(); });
  const rows = el("div");
  let fresh = true; // what is asked for has changed, so that even a list that is read changes
  list.body.append(rows, pager.node);

  async function load() {
    await list.fill(async () => {
      if (filter.given.id !== undefined) {
        pager.found(0, null);
        rows.replaceChildren(...(await findings(filter.given)));
        return;
      }
      const { found, cursor } = await gather("api/attempts", "attempts", asked(filter.given), PAGE, pager.cursor, true);
      pager.found(found.length, cursor);
      if (isInUse(rows) && rows.childElementCount > 0 && !fresh) return;
      fresh = false;
      rows.replaceChildren(...(found.length === 0 && cursor !== null ? [el("p", { class: "hollow" }, t("attempts.none-here"))] : attemptRows(found)));
    });
  }

  function filtered(given, said) {
    restate("attempts", { q: said });
    pager.reset();
    fresh = true;
    refresher.now();
  }

  const refresher = new Refresher(load, EVERY_MS);
  const stop = onEvent((name) => ENDS.has(name) && refresher.soon());
  refresher.now();
  return {
    node: el("div", { class: "view" }, el("h1", {}, t("page.attempts")), filter.node, list.node),
    filter: filter.field,
    refresh: () => refresher.now(),
    redraw: () => { fresh = true; refresher.now(); },
    close: () => { stop(); refresher.close(); },
  };
}
