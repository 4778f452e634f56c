// Routes: how each receiver is, who waits for it, and pausing it by hand.

import { Away, Problem, call, callText } from "../api.js";
import { serverNow } from "../clock.js";
import { el } from "../dom.js";
import { written } from "./filter.js";
import { Refresher } from "./live.js";
import { Panel, sentenceOf } from "./panel.js";
import { reasonOf } from "./reason.js";
import { addressOf } from "./router.js";
import { ask, say } from "./say.js";
import { actButton } from "./session.js";
import { countdown, moment, took } from "./time.js";
import { attempt } from "./verbs.js";
import { t } from "./words.js";

const EVERY_MS = 5_000;
const TONES = { closed: "good", open: "bad", paused: "calm", missing: "warn" };
const COLUMNS = ["route", "state", "act", "why", "attempts", "took", "waiting"];

export function open() {
  const list = new Panel("");
  const rows = el("tbody", { role: "rowgroup" });
  const head = COLUMNS.map((name) => el("th", { scope: "col", role: "columnheader" }, t(`routes.${name}`)));
  const table = el("table", { class: "cards", role: "table" }, el("thead", { role: "rowgroup" }, el("tr", { role: "row" }, ...head)), rows);
  const part = el("p", { class: "muted small", hidden: true }, t("routes.part"));
  list.body.append(el("div", { class: "scroll whole", tabindex: "0", role: "region", "aria-label": t("page.routes") }, table), part);
  let found = [];

  async function load() {
    await list.fill(async () => {
      const { routes, complete } = await call("GET", "api/routes");
      found = routes;
      part.hidden = complete;
      draw();
    });
  }

  // Whoever has come to a button with Tab stays on it.
  function draw() {
    const focused = [...rows.querySelectorAll("button")].indexOf(document.activeElement);
    rows.replaceChildren(...found.map((route) => row(route, (done) => done && refresher.now())));
    if (focused >= 0) rows.querySelectorAll("button")[focused]?.focus();
  }

  const refresher = new Refresher(load, EVERY_MS);
  refresher.now();
  return {
    node: el("div", { class: "view" }, el("h1", {}, t("page.routes")), list.node),
    refresh: () => refresher.now(),
    redraw: draw,
    close: () => refresher.close(),
  };
}

function row(route, then) {
  const name = route.route;
  const chip = el("span", { class: "chip", data: { tone: TONES[route.state] ?? "" } }, t(`route.${route.state}`));
  const why = [reasonOf(route.reason ?? ""), route.by].filter(Boolean).join(" · ");
  const since = route.since === null ? "" : moment(route.since);
  const probe = route.next_probe_in === null ? "" : el("span", { class: "small" }, t("routes.probe"), " ", countdown(serverNow() + route.next_probe_in * 1000));
  const times = route.answer_ms === null ? "" : `${took(route.answer_ms.p50)} · ${took(route.answer_ms.p99)}`;
  const named = (verb) => ({ "aria-label": `${t(`verb.${verb}`)}: ${name}` });
  const isStopped = route.state === "paused" || route.state === "missing";
  const pause = actButton(t("verb.pause"), () => pauseAsked(name).then(then), { ...named("pause"), disabled: isStopped });
  const resume = actButton(t("verb.resume"), () => attempt(() => call("POST", pathOf(name, "resume"), {}), t("done.resume", { route: name })).then(then), { ...named("resume"), disabled: !isStopped });
  const test = actButton(t("verb.test"), () => testAsked(name).then(then), { ...named("test"), disabled: route.state === "missing" });
  const cell = (column, ...content) => el("td", { role: "cell", data: { label: t(`routes.${column}`) } }, ...content);
  return el(
    "tr",
    { role: "row" }, // a narrow screen shows the table as cards, and a table it stays for whoever hears it
    el("th", { scope: "row", role: "rowheader" }, name),
    cell("state", chip, since === "" ? "" : " ", since),
    el("td", { role: "cell" }, el("div", { class: "row-verbs" }, pause, resume, test)),
    cell("why", why, probe === "" ? "" : " ", probe),
    cell("attempts", t("routes.tried", { n: route.attempts, failed: route.failed })),
    cell("took", times),
    cell("waiting", el("a", { href: addressOf("waiting", { q: written({ route: name }) }) }, String(route.waiting))),
  );
}

const pathOf = (route, verb) => `api/routes/${encodeURIComponent(route)}/${verb}`;

async function pauseAsked(route) {
  const fields = [{ name: "reason", label: t("hold.reason"), maxlength: 200, autocomplete: "off" }];
  const answer = await ask({ title: t("pause.ask", { route }), text: t("pause.text"), act: t("verb.pause"), fields });
  if (answer === null) return false;
  const reason = answer.reason.trim();
  return attempt(() => call("POST", pathOf(route, "pause"), reason === "" ? {} : { reason }), t("done.pause", { route }));
}

const TEST_MS = 40_000; // the service waits for the receiver for 30 s, and for another test before it

async function testAsked(route) {
  if ((await ask({ title: t("test.ask", { route }), text: t("test.text"), act: t("verb.test") })) === null) return false;
  say(t("test.sent", { route }));
  try {
    const { level, text } = JSON.parse(await callText("POST", pathOf(route, "test"), {}, TEST_MS));
    say(`${route}: ${text}`, level === "ok" ? "good" : "bad");
  } catch (error) {
    if (!(error instanceof Problem || error instanceof Away)) throw error;
    say(sentenceOf(error), "bad");
  }
  return true;
}
