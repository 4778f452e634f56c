// What the page says, in the language that was chosen. `t("name", {n: 3})` gives a sentence; a
// sentence that counts has one form for one and another for the rest.

import { EN } from "./words-en.js";
import { PT } from "./words-pt.js";
import { remember, remembered } from "./remembered.js";

const LANGUAGES = { en: { words: EN, tag: "en" }, pt: { words: PT, tag: "pt-BR" } };

let language = remembered("language", navigator.language?.startsWith("pt") ? "pt" : "en");
if (!(language in LANGUAGES)) language = "en";

export const currentLanguage = () => language;
export const languageTag = () => LANGUAGES[language].tag;
export const otherLanguage = () => (language === "en" ? "pt" : "en");

export function chooseLanguage(chosen) {
  language = chosen;
  remember("language", chosen);
  translatePage();
}

export function t(name, values = {}) {
  const said = LANGUAGES[language].words[name] ?? EN[name] ?? name;
  const form = typeof said === "string" ? said : said[values.n === 1 ? "one" : "other"];
  return form.replace(/\{(\w+)\}/g, (whole, key) => (key in values ? shown(values[key]) : whole));
}

const shown = (value) => (typeof value === "number" ? value.toLocaleString(languageTag()) : String(value));

/** Fills what `operate.html` itself says. */
export function translatePage() {
  document.documentElement.lang = languageTag();
  for (const node of document.querySelectorAll("[data-t]")) node.textContent = t(node.dataset.t);
  for (const node of document.querySelectorAll("[data-t-label]")) node.setAttribute("aria-label", t(node.dataset.tLabel));
  for (const node of document.querySelectorAll("[data-t-wrong]")) node.dataset.wrong = t(node.dataset.tWrong);
  for (const node of document.querySelectorAll("[data-t-over]")) node.dataset.over = t(node.dataset.tOver);
}
