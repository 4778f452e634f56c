// One user as the API lists it, in words: the state, why nothing has gone yet, and when it will.

import { serverNow } from "../clock.js";
import { el } from "../dom.js";
import { reasonOf } from "./reason.js";
import { countdown, lasting } from "./time.js";
import { t } from "./words.js";

export const TONES = { collecting: "good", delivering: "good", retrying: "warn", held: "calm", answering: "calm", idle: "" };
const BLOCKED = ["missing", "paused", "open"];
const STATES = ["idle", "collecting", "delivering", "retrying", "held", "answering"];

export const stateChip = (state) =>
  el("span", { class: "chip", data: { tone: TONES[state] ?? "" } }, STATES.includes(state) ? t(`state.${state}`) : state);

/** When the next thing happens, on the server's clock; null when nothing will. */
export const endOf = (line, askedAt = serverNow()) => (line.fires_in === null ? null : askedAt + line.fires_in * 1000);

/** The countdown that matters in this state, or nothing. */
export function clockOf(line, askedAt) {
  const held = line.held_for !== null && line.held_for !== undefined;
  const endMs = held ? askedAt + line.held_for * 1000 : endOf(line, askedAt);
  return endMs === null || line.state === "delivering" ? "" : countdown(endMs);
}

/** Messages that are not delivered, the batch under way included. */
export const waitingOf = (line) => line.pending + (line.batch?.messages ?? 0);

/** "Why not yet", in one sentence. */
export function whyOf(line) {
  const { batch } = line;
  if (BLOCKED.includes(line.blocked) && line.state !== "held") return t(`why.${line.blocked}`, { route: line.route });
  if (line.state === "retrying" && batch) return t("why.retrying", { n: batch.attempts, failure: reasonOf(batch.failure ?? t("why.unknown")) });
  if (line.state === "delivering" && batch) return t("why.delivering", { n: Math.max(1, batch.attempts), duration: lasting(batch.attempt_for ?? 0) });
  if (line.state === "held") return t("why.held");
  if (line.state === "answering") return t("why.answering");
  if (line.state === "collecting") return t("why.collecting");
  return t("why.idle");
}

export function countOf(line) {
  const batch = line.batch?.messages ?? 0;
  if (batch > 0 && line.pending > 0) return t("count.both", { n: batch, pending: line.pending });
  return t("count.messages", { n: waitingOf(line) });
}

export const isHeld = (line) => line.state === "held" || (line.held_for !== null && line.held_for !== undefined);

export const canFlush = (line) => !isHeld(line) && (line.state === "retrying" || (line.state === "collecting" && line.pending > 0));
