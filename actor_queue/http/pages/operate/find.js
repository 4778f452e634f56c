// One id looked up: whose it is, where it is now, and every attempt, so that "why was I answered
// twice" has an answer.

import { call } from "../api.js";
import { el } from "../dom.js";
import { attemptRows } from "./attempt-rows.js";
import { routeChip, userAddress } from "./router.js";
import { t } from "./words.js";

const TONES = { delivered: "good", waiting: "good", delivering: "good", retrying: "warn", divided: "warn", dead: "bad", queued: "calm" };

/** Nodes that say what is known of `id`; `user` is a whole name here, and narrows the search. */
export async function findings({ id, user, route }) {
  const { found, remembered, complete } = await call("GET", `api/find?${new URLSearchParams({ id, ...(user === undefined ? {} : { user }), ...(route === undefined ? {} : { route }) })}`);
  const none = found.length > 0 ? "" : el("p", { class: "hollow" }, remembered ? t("find.remembered") : t("find.none"));
  const part = complete ? "" : el("p", { class: "fault" }, t("find.part"));
  return [none, part, ...found.map(batch)];
}

function batch({ user, route, batch_id: id, where, attempts }) {
  const head = el(
    "p",
    { class: "row-head" },
    el("a", { href: userAddress({ user, route }) }, user),
    routeChip({ route }),
    el("span", { class: "chip", data: { tone: TONES[where] ?? "" } }, t(`where.${where}`)),
    id === null ? "" : el("code", {}, id),
  );
  return el("section", { class: "found" }, head, ...attemptRows(attempts, { user, route }));
}
