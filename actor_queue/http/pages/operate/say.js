// Short sentences about what somebody has just done, and questions before it is done.

import { byId, el } from "../dom.js";
import { t } from "./words.js";

const SAID_MS = 8_000;
const TYPED_ABOVE = 100;

let saying = 0;

export function say(text, tone = "good") {
  const node = byId("said");
  clearTimeout(saying);
  node.dataset.tone = tone;
  node.textContent = text;
  node.hidden = false;
  saying = setTimeout(() => (node.hidden = true), SAID_MS);
}

/**
 * Asks before something is done. `{title, text, act, bad, n, fields}`: above 100 of whatever it
 * is, the number has to be typed. The fields' values as an object, or null when it is not to be.
 */
export function ask({ title, text, act, bad = false, n = 0, fields = [] }) {
  const typed = n > TYPED_ABOVE ? el("input", { class: "field", inputmode: "numeric", required: true, pattern: String(n), autocomplete: "off" }) : null;
  const inputs = fields.map(({ name, label, ...props }) => ({ name, label, input: el("input", { class: "field", ...props }) }));
  const no = el("button", { class: "button", type: "button" }, t("ask.no"));
  const yes = el("button", { class: `button primary${bad ? " bad" : ""}`, type: "submit" }, act);
  const form = el(
    "form",
    { method: "dialog" },
    el("h2", { id: "ask-title" }, title),
    text ? el("p", { class: "muted" }, text) : "",
    ...inputs.map(({ label, input }) => el("label", { class: "small" }, label, input)),
    typed ? el("label", { class: "small" }, t("ask.type", { n: String(n) }), typed) : "",
    el("div", { class: "row" }, no, yes),
  );
  const dialog = el("dialog", { "aria-labelledby": "ask-title" }, form);
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) => {
    let answer = null;
    no.addEventListener("click", () => dialog.close());
    form.addEventListener("submit", () => (answer = Object.fromEntries(inputs.map(({ name, input }) => [name, input.value]))));
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(answer);
    });
  });
}

/** Shows `content` until it is closed. */
export function show(title, ...content) {
  const close = el("button", { class: "button", type: "submit" }, t("close"));
  const form = el("form", { method: "dialog" }, el("h2", { id: "show-title" }, title), ...content, el("div", { class: "row" }, close));
  const dialog = el("dialog", { "aria-labelledby": "show-title", class: "wide" }, form);
  document.body.append(dialog);
  dialog.addEventListener("close", () => dialog.remove());
  dialog.showModal();
}
