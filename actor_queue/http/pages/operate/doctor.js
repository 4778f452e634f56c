// Doctor: what is wrong with this service's Redis and receiver, in the sentences that
// `actor-queue doctor` says.

import { call } from "../api.js";
import { el } from "../dom.js";
import { Refresher } from "./live.js";
import { Panel } from "./panel.js";
import { moment } from "./time.js";
import { checkInPortuguese, inPortuguese } from "./words-doctor-pt.js";
import { currentLanguage, t } from "./words.js";

const EVERY_MS = 30_000;
const TONES = { ok: "good", warn: "warn", fail: "bad" };
const GRAVEST_FIRST = ["fail", "warn", "ok"];

export function open() {
  const panel = new Panel("");
  const again = el("button", { class: "button", type: "button", onclick: () => refresher.now() }, t("doctor.again"));

  async function load() {
    await panel.fill(async () => {
      const { at, findings } = await call("GET", "api/doctor");
      const sorted = [...findings].sort((one, other) => GRAVEST_FIRST.indexOf(one.level) - GRAVEST_FIRST.indexOf(other.level));
      panel.body.replaceChildren(el("p", {}, summary(findings), " ", el("span", { class: "muted small" }, moment(at))), el("ul", { class: "findings" }, ...sorted.map(line)));
    });
  }

  const refresher = new Refresher(load, EVERY_MS);
  refresher.now();
  return {
    node: el("div", { class: "view" }, el("h1", {}, t("page.doctor")), el("p", { class: "muted" }, t("doctor.text")), panel.node, el("p", {}, again)),
    refresh: () => refresher.now(),
    redraw: () => refresher.now(),
    close: () => refresher.close(),
  };
}

function line({ level, check, text }) {
  const said = findingOf({ check, text });
  return el("li", {}, el("span", { class: "chip", data: { tone: TONES[level] ?? "" } }, t(`level.${level}`)), el("div", { lang: said.lang }, el("strong", {}, said.check), el("p", {}, said.text)));
}

/** As the page's reader reads it: `{check, text, lang}`, in English where there are no other words for it. */
export function findingOf({ check, text }) {
  const translated = currentLanguage() === "pt" ? inPortuguese(text) : null;
  return translated === null ? { check, text, lang: "en" } : { check: checkInPortuguese(check), text: translated, lang: "pt-BR" };
}

function summary(findings) {
  const wrong = findings.filter(({ level }) => level !== "ok").length;
  return wrong === 0 ? t("doctor.well") : t("doctor.ill", { n: wrong });
}
