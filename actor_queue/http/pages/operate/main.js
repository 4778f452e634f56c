// The operator's view: the shell around the pages. It opens the page that the address names and
// gives all of them one stream, one clock, one session and one language.

import { offsetMs } from "../clock.js";
import { byId, el } from "../dom.js";
import * as attempts from "./attempts.js";
import * as cluster from "./cluster.js";
import * as dead from "./dead.js";
import * as doctor from "./doctor.js";
import { help, listen } from "./keyboard.js";
import { followAll, showLink } from "./live.js";
import { remember, remembered } from "./remembered.js";
import { addressOf, here } from "./router.js";
import * as routes from "./routes.js";
import { learnSession, onSession, showWho } from "./session.js";
import { MODES, chooseMode, currentMode } from "./time.js";
import * as user from "./user.js";
import * as waiting from "./waiting.js";
import { chooseLanguage, otherLanguage, t, translatePage } from "./words.js";

/** Quiet time comes here when the service tells about it. */
const VIEWS = { waiting, user, attempts, dead, routes, cluster, doctor };
const IN_THE_BAR = ["waiting", "attempts", "dead", "routes", "cluster", "doctor"];
const THEMES = ["system", "light", "dark"];
const CLOCKS_DIFFER_MS = 1_500;

let view = { close: () => {} };
let shown = "";

function openView() {
  const { name, params } = here();
  const known = name in VIEWS ? name : "waiting";
  view.close();
  shown = known;
  view = VIEWS[known].open(params);
  byId("view").replaceChildren(view.node);
  document.title = `${view.title ?? t(`page.${known}`)} · actor-queue`;
  drawNav();
}

function drawNav() {
  const link = (name) => el("a", { href: addressOf(name), "aria-current": name === shown ? "page" : null }, t(`page.${name}`));
  const others = [el("a", { href: "docs" }, "API"), isDev ? el("a", { href: "./" }, t("page.playground")) : ""];
  byId("pages").replaceChildren(...IN_THE_BAR.map(link), ...others.filter(Boolean));
}

/** The service says whether it has a playground: only `actor-queue dev` does. */
const isDev = document.documentElement.dataset.playground === "yes";

// What is chosen

function drawSwitches() {
  const label = (id, text, title) => {
    byId(id).textContent = text;
    byId(id).title = title;
    byId(id).setAttribute("aria-label", `${title}: ${text}`);
  };
  label("switch-time", t(`mode.${currentMode()}`), t("switch.time"));
  label("switch-theme", t(`theme.${theme()}`), t("switch.theme"));
  byId("switch-language").textContent = otherLanguage().toUpperCase();
  byId("switch-language").setAttribute("aria-label", `${otherLanguage().toUpperCase()}: ${t("switch.language")}`);
  byId("keys-help").setAttribute("aria-label", `? ${t("keys.title")}`);
}

const theme = () => remembered("theme", "system");

function applyTheme() {
  if (theme() === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme();
}

const after = (list, current) => list[(list.indexOf(current) + 1) % list.length];

function wire() {
  byId("switch-time").addEventListener("click", () => { chooseMode(after(MODES, currentMode())); drawSwitches(); view.redraw?.(); });
  byId("switch-theme").addEventListener("click", () => { remember("theme", after(THEMES, theme())); applyTheme(); drawSwitches(); view.redraw?.(); });
  byId("switch-language").addEventListener("click", () => { chooseLanguage(otherLanguage()); drawAll(); openView(); });
  byId("keys-help").addEventListener("click", help);
  document.querySelector(".skip").addEventListener("click", (event) => { event.preventDefault(); byId("view").focus(); });
  window.addEventListener("hashchange", () => { openView(); byId("view").focus({ preventScroll: true }); window.scrollTo(0, 0); });
  document.addEventListener("visibilitychange", () => document.hidden || view.refresh?.());
  onSession(() => view.redraw?.());
  listen(() => view);
}

function drawAll() {
  translatePage();
  drawSwitches();
  drawNav();
  showLink();
  showWho();
}

/** Says when this machine's clock is wrong, because moments are shown by the server's. */
function sayOffset() {
  const ms = offsetMs();
  byId("link").title = Math.abs(ms) > CLOCKS_DIFFER_MS ? t("clock.differs", { n: Math.round(ms / 1000) }) : "";
}

applyTheme();
drawAll();
wire();
openView();
learnSession();
followAll(() => { view.refresh?.(); sayOffset(); });
