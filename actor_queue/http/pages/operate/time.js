// Moments and durations: relative, local or UTC, as somebody chose; and everything that counts
// down or grows old on the page, moved by the one clock.

import { everyTick, serverNow } from "../clock.js";
import { el } from "../dom.js";
import { remember, remembered } from "./remembered.js";
import { languageTag, t } from "./words.js";

export const MODES = ["relative", "local", "utc"];

let mode = remembered("time", "relative");
if (!MODES.includes(mode)) mode = "relative";

export const currentMode = () => mode;

export function chooseMode(chosen) {
  mode = chosen;
  remember("time", chosen);
  refreshMoments();
}

/** `<time>` of an ISO text or of Unix milliseconds. Its exact moment is in its title. */
export function moment(at) {
  const date = new Date(at);
  const iso = date.toISOString();
  const node = el("time", { datetime: iso, title: iso, data: { at: String(date.getTime()) } });
  node.textContent = momentText(date.getTime());
  return node;
}

/** A span that counts down to `endMs` of the server's clock. */
export function countdown(endMs) {
  const node = el("span", { class: "count", data: { end: String(endMs) } });
  node.textContent = countdownText(endMs);
  return node;
}

export function momentText(atMs) {
  if (mode === "relative") return ago(atMs);
  const today = new Date(serverNow()).toDateString() === new Date(atMs).toDateString();
  const zone = mode === "utc" ? { timeZone: "UTC" } : {};
  const day = today && mode === "local" ? {} : { month: "short", day: "2-digit" };
  const parts = { ...day, hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false, ...zone };
  return new Intl.DateTimeFormat(languageTag(), parts).format(atMs) + (mode === "utc" ? " UTC" : "");
}

/** Hours, minutes, seconds and milliseconds of one moment, in the chosen zone. */
export function exactText(atMs) {
  const zone = mode === "utc" ? { timeZone: "UTC" } : {};
  const parts = { hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3, hour12: false };
  return new Intl.DateTimeFormat(languageTag(), { ...parts, ...zone }).format(atMs);
}

function ago(atMs) {
  const ms = serverNow() - atMs;
  if (ms < -1_500) return t("time.in", { duration: lasting(-ms / 1000) });
  if (ms < 1_500) return t("time.now");
  return t("time.ago", { duration: lasting(ms / 1000) });
}

/** A duration that stays readable while it counts. */
export function lasting(seconds) {
  const left = Math.max(0, seconds);
  if (left < 10) return `${left.toLocaleString(languageTag(), { minimumFractionDigits: 1, maximumFractionDigits: 1 })} s`;
  if (left < 60) return `${Math.floor(left)} s`;
  if (left < 3_600) return `${Math.floor(left / 60)} min ${Math.floor(left % 60)} s`;
  if (left < 86_400) return `${Math.floor(left / 3_600)} h ${Math.floor((left % 3_600) / 60)} min`;
  return `${Math.floor(left / 86_400)} d ${Math.floor((left % 86_400) / 3_600)} h`;
}

function countdownText(endMs) {
  const leftS = (endMs - serverNow()) / 1000;
  if (leftS <= -2) return t("time.late", { duration: lasting(-leftS) });
  return leftS <= 0 ? t("time.due") : lasting(leftS);
}

/** Hours, minutes and seconds, of 24 hours, in the chosen zone. */
export const clockText = (atMs) =>
  new Intl.DateTimeFormat(languageTag(), { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false, ...(mode === "utc" ? { timeZone: "UTC" } : {}) }).format(atMs);

/** How long something took: milliseconds while it is short. */
export const took = (ms) => (ms < 1_000 ? `${Math.round(ms)} ms` : lasting(ms / 1000));

function refreshMoments() {
  for (const node of document.querySelectorAll("time[data-at]")) write(node, momentText(Number(node.dataset.at)));
}

function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

everyTick(() => {
  for (const node of document.querySelectorAll("[data-end]")) {
    const endMs = Number(node.dataset.end);
    write(node, countdownText(endMs));
    node.classList.toggle("late", endMs - serverNow() <= -2_000);
  }
  if (mode === "relative") refreshMoments();
});
