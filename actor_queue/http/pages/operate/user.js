// One user: what is the case, what can be done, and the conversation as a picture.

import { call } from "../api.js";
import { serverNow } from "../clock.js";
import { copyButton, el, jsonBlock, quoted } from "../dom.js";
import { attemptRows } from "./attempt-rows.js";
import { written } from "./filter.js";
import { Refresher, onEvent } from "./live.js";
import { Past } from "./past.js";
import { Panel, quietly } from "./panel.js";
import { Picture } from "./picture.js";
import { DEFAULT_ROUTE, addressOf, calledOf, keyOf, routeChip, routeGiven } from "./router.js";
import { ask } from "./say.js";
import { actButton } from "./session.js";
import { TextsPanel } from "./texts.js";
import { lasting, moment } from "./time.js";
import { clockOf, countOf, stateChip, whyOf } from "./user-line.js";
import { attempt, holdAsked, isOutOfReach, pathOf, verbButtons } from "./verbs.js";
import { t } from "./words.js";

const EVERY_MS = 4_000;

export function open(params) {
  const user = params.get("user") ?? "";
  const route = params.get("route") ?? DEFAULT_ROUTE;
  const whose = { user, route };
  const heading = el("h1", { class: "user-name", title: user }, user);
  if (user === "" || isOutOfReach(user)) return unreachable(heading, user);

  const state = new Panel("", { class: "now" });
  const story = new Panel(t("user.story"));
  const attempts = new Panel(t("user.attempts"));
  const about = new Panel(t("user.about"));
  const deeds = new Panel(t("user.deeds"));
  const chosen = el("div", { class: "chosen", "aria-live": "polite" });
  const picture = new Picture((mark) => showMark(chosen, mark));
  const texts = new TextsPanel(whose, (items) => { past.items(items); draw(); });
  const past = new Past();
  const missed = el("p", { class: "muted small", hidden: true });
  let missedEvents = 0;
  story.body.append(picture.node, missed, chosen);
  let view = null;
  let deedsFor = null;

  async function load() {
    await state.fill(async () => {
      const answer = await call("GET", pathOf(whose));
      view = answer;
      past.view(answer, serverNow());
    });
    const now = `${view?.state} ${view?.held_for === null}`;
    if (now !== deedsFor) await loadDeeds(); // something may have been done by hand
    deedsFor = now;
    if (view !== null) draw();
  }

  async function loadDeeds() {
    const answer = await quietly(() => call("GET", pathOf(whose, "", { deeds: true })));
    deeds.node.hidden = answer === null; // a release that does not remember them
    if (answer === null) return;
    past.deeds(answer.deeds);
    deeds.body.replaceChildren(deedList(answer.deeds));
  }

  function draw() {
    drawNow(state, view, () => { deedsFor = null; refresher.now(); });
    const latest = JSON.stringify(view.recent);
    if (attempts.latest !== latest) attempts.body.replaceChildren(...attemptRows(view.recent, whose));
    attempts.latest = latest; // rows stay as they are, and open where they were opened
    if (about.body.childElementCount === 0) drawAbout(about, view);
    picture.draw(past.story(serverNow()));
  }

  // Of a flood only a part is told; this user's may have been in the rest.
  function sayMissed({ dropped }) {
    missedEvents += dropped;
    missed.textContent = t("user.missed", { n: missedEvents });
    missed.hidden = false;
    refresher.soon();
  }

  const refresher = new Refresher(load, EVERY_MS);
  const stop = onEvent((name, data) => {
    if (name === "dropped") sayMissed(data);
    if (keyOf(data) !== keyOf(whose)) return;
    past.happened(name, data, serverNow());
    picture.draw(past.story(serverNow()), name === "accepted");
    refresher.soon();
  });
  refresher.now();
  const moving = setInterval(() => document.hidden || view === null || picture.draw(past.story(serverNow())), 1_000);
  return {
    node: el("div", { class: "view" }, el("div", { class: "row-head" }, heading, routeChip(whose)), state.node, story.node, texts.node, attempts.node, deeds.node, about.node),
    title: calledOf(whose),
    refresh: () => refresher.now(),
    redraw: () => { attempts.latest = null; about.body.replaceChildren(); texts.redraw(); if (view !== null) draw(); },
    close: () => { stop(); refresher.close(); clearInterval(moving); },
  };
}

function unreachable(heading, user) {
  const text = user === "" ? t("user.none") : t("user.out-of-reach", { user });
  return { node: el("div", { class: "view" }, heading, el("p", { class: "fault" }, text)), close: () => {} };
}

function drawNow(panel, view, after) {
  const focused = [...panel.body.querySelectorAll("button")].indexOf(document.activeElement);
  const erase = actButton(t("verb.erase"), () => eraseAll(view).then((done) => done && after()), { class: "button small-button danger" });
  panel.body.replaceChildren(
    el("div", { class: "now-head" }, stateChip(view.state), el("span", { class: "now-clock" }, clockOf(view, serverNow())), el("span", { class: "muted" }, countOf(view))),
    el("p", { class: "now-why" }, whyOf(view)),
    el("div", { class: "row-verbs" }, ...verbButtons(view, after, holdAsked), erase),
  );
  if (focused >= 0) panel.body.querySelectorAll("button")[focused]?.focus();
}

function deedList(deeds) {
  if (deeds.length === 0) return el("p", { class: "hollow" }, t("deeds.none"));
  const line = ({ at, deed, by, reason, seconds }) =>
    el("li", {}, moment(at), " · ", el("strong", {}, t(`deed.${deed}`)), seconds ? ` (${lasting(seconds)})` : "", by ? ` · ${by}` : "", reason ? el("q", { class: "muted" }, reason) : "");
  return el("ol", { class: "plain" }, ...deeds.map(line));
}

async function eraseAll({ user, route }) {
  const fields = [{ name: "typed", label: t("erase.type"), required: true, autocomplete: "off" }];
  const answer = await ask({ title: t("erase.title", { user: calledOf({ user, route }) }), text: t("erase.text"), act: t("verb.erase"), bad: true, fields });
  if (answer === null || answer.typed !== user) return false;
  return attempt(() => eraseInPieces({ user, route }), (underWay) => t(underWay ? "done.erase-later" : "done.erase", { user: calledOf({ user, route }) }));
}

const ERASE_PIECES_MAX = 1_000;

/** The service erases a bounded piece for one request. Whether a batch is still under way. */
async function eraseInPieces(whose) {
  let cursor = null;
  let underWay = false;
  for (let asked = 0; asked < ERASE_PIECES_MAX; asked += 1) {
    const answer = await call("DELETE", pathOf(whose, "", { everything: true, ...(cursor === null ? {} : { cursor }) }));
    underWay ||= answer.under_way !== null;
    cursor = answer.cursor ?? null;
    if (cursor === null) break;
  }
  return underWay;
}

function drawAbout(panel, view) {
  const route = routeGiven(view.route);
  const command = `actor-queue user ${quoted(view.user)}${route === undefined ? "" : ` --route ${quoted(route)}`}`;
  panel.body.replaceChildren(
    el("dl", { class: "facts" },
      el("dt", {}, t("about.logged")), el("dd", {}, el("code", {}, view.logged_as ?? "")),
      el("dt", {}, t("about.terminal")), el("dd", {}, el("code", {}, command), copyButton(() => command, t("copy"))),
      el("dt", {}, t("about.more")), el("dd", {}, el("a", { href: addressOf("attempts", { q: written({ user: view.user, route: view.route }) }) }, t("about.attempts"))),
    ),
  );
}

/** What was pressed in the picture, as JSON. */
function showMark(place, mark) {
  place.replaceChildren(el("h3", {}, mark.title), jsonBlock(mark.json, t("copy")));
}
