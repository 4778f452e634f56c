// What an operator does to one user of a route. Each verb says what it did, and what stands against it.

import { Away, Problem, call } from "../api.js";
import { sentenceOf } from "./panel.js";
import { calledOf, routeGiven } from "./router.js";
import { ask, say } from "./say.js";
import { actButton } from "./session.js";
import { canFlush, isHeld, waitingOf } from "./user-line.js";
import { t } from "./words.js";

export const HOLD_S = 3_600;

/** Names that a browser turns into another path, however they are written. */
export const isOutOfReach = (user) => user === "." || user === "..";

/**
 * The path of a conversation `{user, route}`, with `params` and its route as the query. Throws for a
 * name that is out of reach: `users/./hold` is `users/hold`, which holds everybody.
 */
export function pathOf({ user, route }, verb = "", params = {}) {
  if (isOutOfReach(user)) throw new Problem(0, { detail: t("user.out-of-reach", { user }) });
  const named = routeGiven(route);
  const query = new URLSearchParams({ ...params, ...(named === undefined ? {} : { route: named }) }).toString();
  return `api/users/${encodeURIComponent(user)}${verb && `/${verb}`}${query && `?${query}`}`;
}

/** Does `press`, says `done` or what went wrong. True when it was done. */
export async function attempt(press, done) {
  try {
    const answer = await press();
    say(typeof done === "function" ? done(answer) : done);
    return true;
  } catch (error) {
    if (!(error instanceof Problem || error instanceof Away)) throw error;
    say(sentenceOf(error), "bad");
    return false;
  }
}

// `whose` is a conversation, `{user, route}`, or a line of a list, which has both.

export const flush = (whose) => attempt(() => call("POST", pathOf(whose, "flush")), t("done.flush", { user: calledOf(whose) }));
export const release = (whose) => attempt(() => call("POST", pathOf(whose, "release")), t("done.release", { user: calledOf(whose) }));
export const hold = (whose, seconds = HOLD_S, reason = "") =>
  attempt(() => call("POST", pathOf(whose, "hold"), reason === "" ? { seconds } : { seconds, reason }), t("done.hold", { user: calledOf(whose), n: Math.round(seconds / 60) }));

const MINUTES_MAX = 7 * 24 * 60;

/** A hold whose length and reason are asked for. */
export async function holdAsked(whose) {
  const fields = [
    { name: "minutes", label: t("hold.minutes"), type: "number", min: 1, max: MINUTES_MAX, value: HOLD_S / 60, required: true },
    { name: "reason", label: t("hold.reason"), maxlength: 200, autocomplete: "off" },
  ];
  const answer = await ask({ title: t("hold.ask", { user: calledOf(whose) }), text: t("hold.text"), act: t("verb.hold"), fields });
  return answer !== null && hold(whose, Number(answer.minutes) * 60, answer.reason.trim());
}

export async function drop(line) {
  const question = { title: t("drop.title", { user: calledOf(line) }), text: t("drop.text", { n: waitingOf(line) }), act: t("verb.drop"), bad: true };
  if ((await ask(question)) === null) return false;
  return attempt(() => call("DELETE", pathOf(line)), ({ dropped }) => t("done.drop", { user: calledOf(line), n: dropped }));
}

/** The buttons for one conversation; `after()` once something was done. `holdIt(whose)` is how to hold. */
export function verbButtons(line, after, holdIt = hold) {
  const then = (done) => done && after();
  const named = (verb) => ({ "aria-label": `${t(`verb.${verb}`)}: ${calledOf(line)}` });
  const now = line.state === "retrying" ? "try" : "flush";
  const first = actButton(t(`verb.${now}`), () => flush(line).then(then), { ...named(now), disabled: !canFlush(line) });
  const second = isHeld(line)
    ? actButton(t("verb.release"), () => release(line).then(then), named("release"))
    : actButton(t("verb.hold"), () => holdIt(line).then(then), { ...named("hold"), title: holdIt === hold ? t("hold.title") : "" });
  const third = actButton(t("verb.drop"), () => drop(line).then(then), { ...named("drop"), disabled: waitingOf(line) === 0 });
  return [first, second, third];
}
