// `/` to the filter, `j` and `k` along the rows, `g` and a letter to a page, `?` for help.

import { el } from "../dom.js";
import { show } from "./say.js";
import { addressOf } from "./router.js";
import { t } from "./words.js";

export const PLACES = { w: "waiting", a: "attempts", d: "dead", r: "routes", c: "cluster", o: "doctor" };
const GOING_MS = 1_500;

let going = 0;

/** `current()` is the view that is open. */
export function listen(current) {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
    if (document.querySelector("dialog[open]")) return;
    if (press(event.key, current())) event.preventDefault();
  });
}

function press(pressed, view) {
  if (performance.now() - going < GOING_MS && pressed in PLACES) {
    location.hash = addressOf(PLACES[pressed]);
    return true;
  }
  if (pressed === "g") return (going = performance.now()) > 0;
  if (pressed === "/" && view.filter) return focus(view.filter);
  if (pressed === "r" && view.refresh) return view.refresh() ?? true;
  if (pressed === "j" || pressed === "k") return step(pressed === "j" ? 1 : -1);
  if (pressed === "?") return help() ?? true;
  return false;
}

function isTyping(node) {
  return node instanceof HTMLTextAreaElement || node instanceof HTMLSelectElement || (node instanceof HTMLInputElement && node.type !== "checkbox" && node.type !== "radio");
}

function focus(node) {
  node.focus();
  node.select?.();
  return true;
}

function step(by) {
  const links = [...document.querySelectorAll("#view .row-link")];
  if (links.length === 0) return false;
  const row = document.activeElement?.closest(".row");
  const place = links.findIndex((link) => row?.contains(link));
  const next = place < 0 ? (by > 0 ? 0 : links.length - 1) : Math.min(links.length - 1, Math.max(0, place + by));
  links[next].focus();
  links[next].scrollIntoView({ block: "nearest" });
  return true;
}

export function help() {
  const rows = ["/", "j k", "Enter", "r", "g w", "g a", "g d", "g r", "g c", "g o", "?"];
  const line = (keys) => [el("dt", {}, el("kbd", {}, keys)), el("dd", {}, t(`keys.${keys}`))];
  show(t("keys.title"), el("dl", { class: "facts keys" }, ...rows.flatMap(line)));
}
