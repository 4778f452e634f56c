// Attempts as rows: when, how it ended, how long it took, and what the receiver said.

import { el } from "../dom.js";
import { openLetter, openRequest } from "./letter.js";
import { reasonOf } from "./reason.js";
import { addressOf, calledOf, routeChip, userAddress } from "./router.js";
import { actButton } from "./session.js";
import { moment, took } from "./time.js";
import { t } from "./words.js";

const TONES = { delivered: "good", failed: "warn", retry: "warn", divided: "warn", dead: "bad" };

/** One node per attempt; `whose` where all are of one user. */
export function attemptRows(attempts, whose = null) {
  if (attempts.length === 0) return [el("p", { class: "hollow" }, t("attempts.none"))];
  return [el("ul", { class: "rows attempts" }, ...attempts.map((record) => attemptRow(record, whose)))];
}

/** A batch's id leads to everything that is known of it. */
const idOf = ({ batch_id: id }) => (id === undefined ? "" : el("a", { href: addressOf("attempts", { q: `id:${id}` }) }, el("code", {}, id)));

/** The request of a batch is kept until it is delivered, and can be opened until then. */
function requestOf({ outcome, batch_id: id }, whose) {
  if (outcome === "delivered" || outcome === "divided") return "";
  const open = () => (outcome === "dead" ? openLetter(id) : openRequest(id, whose));
  return actButton(t("dead.open"), open, { "aria-label": `${t("dead.open")}: ${calledOf(whose)}, ${id}` });
}

/** What the receiver said, behind a press: it may repeat what a person wrote. */
export function answerOf({ answer }) {
  if (!answer) return "";
  return el("details", { class: "answer" }, el("summary", { class: "small muted" }, t("attempt.answer")), el("q", {}, answer));
}

function attemptRow(record, whose) {
  const user = whose === null;
  const status = record.status === null || record.status === undefined ? "" : ` ${record.status}`;
  const outcome = record.outcome ?? "under way";
  const chip = el("span", { class: "chip", data: { tone: TONES[record.outcome] ?? "" } }, `${t(`outcome.${outcome}`)}${status}`);
  const lasted = record.duration_ms === null || record.duration_ms === undefined ? "" : took(record.duration_ms);
  const facts = [lasted, record.messages === undefined ? "" : t("count.messages", { n: record.messages }), record.bytes ? t("count.bytes", { n: record.bytes }) : ""];
  return el(
    "li",
    { class: "row" },
    el("div", { class: "row-head" }, user ? el("a", { class: "row-link", href: userAddress(record), title: record.user }, record.user) : moment(record.at), user ? routeChip(record) : "", chip),
    el("span", { class: "row-clock muted small" }, user ? moment(record.at) : lasted),
    el("div", { class: "row-why" }, el("p", {}, reasonOf(record.reason ?? "")), answerOf(record)),
    el("p", { class: "muted small row-id" }, t("attempt.number", { n: record.attempt }), " · ", ...facts.filter((fact) => fact !== "" && fact !== (user ? "" : lasted)).flatMap((fact) => [fact, " · "]), idOf(record), requestOf(record, whose ?? record)),
  );
}
