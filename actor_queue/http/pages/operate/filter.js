// The filter bar's grammar: `user:joao state:retrying since:10m`, and a bare word is a user. A
// user is always a prefix, because nothing else can be found without reading everybody.

import { el } from "../dom.js";
import { t } from "./words.js";

const EXAMPLES = { user: "user:joao", route: "route:vendas", state: "state:retrying", outcome: "outcome:failed", reason: "reason:answered", status: "status:500", since: "since:10m", id: "id:…" };
const PAIR = /^(\w+):(.*)$/;
const WORDS = /(?:[^\s"]|"[^"]*")+/g;

/** `{given, wrong}`: what was asked for by name, and the first word that means nothing. */
export function parsed(text, known) {
  const given = {};
  let wrong = null;
  for (const word of text.match(WORDS) ?? []) {
    const [, name, value] = word.match(PAIR) ?? [null, "user", word];
    const plain = value.replaceAll('"', "").replace(/\*$/, "");
    if (known.includes(name) && plain !== "") given[name] = plain;
    else wrong ??= word;
  }
  return { given, wrong };
}

/** The text that says `given`. */
export const written = (given) =>
  Object.entries(given)
    .filter(([, value]) => value !== "" && value !== undefined)
    .map(([name, value]) => [name, value.split('"')[0]]) // a beginning is enough, and a quote ends it
    .map(([name, value]) => `${name}:${/\s/.test(value) ? `"${value}"` : value}`)
    .join(" ");

export class FilterBar {
  /** `known` are the names that the list takes; `changed(given)` once they were entered. */
  constructor(known, text, changed, choices = []) {
    this.#known = known;
    this.#changed = changed;
    this.#taken = parsed(text, known);
    this.#text = text.trim();
    this.field = el("input", {
      class: "field", id: "filter", type: "search", value: text, placeholder: known.map((name) => EXAMPLES[name] ?? "").filter(Boolean).join(" "), autocomplete: "off",
      autocapitalize: "none", spellcheck: "false", "aria-keyshortcuts": "/", "aria-describedby": "filter-says",
    });
    this.#says = el("p", { id: "filter-says", class: "muted small" });
    const label = el("label", { for: "filter", class: "out-of-sight" }, t("filter.label"));
    const quick = choices.map(([name, given]) => el("button", { class: "chip", type: "button", onclick: () => this.put(given) }, name));
    this.node = el("form", { class: "filter", role: "search" }, label, this.field, el("div", { class: "quick" }, ...quick), this.#says);
    this.node.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#take();
    });
    this.field.addEventListener("input", () => this.edited());
    this.field.addEventListener("search", () => this.field.value === "" && this.#take());
    this.#explain();
  }

  #known;
  #changed;
  #says;
  #taken;
  #text;

  /** Called when somebody types: what is entered and what is shown may differ from then on. */
  edited = () => {};

  /** What was entered last, which is what the list shows. */
  get given() {
    return this.#taken.given;
  }

  /**
   * Whether what stands in the field is what `given` says. A word that means nothing narrows
   * nothing, and one that was not entered does not yet: nobody may act on all that match then.
   */
  get isInForce() {
    return this.#taken.wrong === null && this.field.value.trim() === this.#text;
  }

  put(given) {
    this.field.value = written(given);
    this.#take();
  }

  #take() {
    this.#taken = parsed(this.field.value, this.#known);
    this.#text = this.field.value.trim();
    this.#explain();
    this.#changed(this.given, this.#text);
  }

  #explain() {
    const { wrong } = this.#taken;
    const words = this.#known.map((name) => `${name}:`).join(" ");
    this.#says.textContent = wrong === null ? t(this.#known.includes("reason") ? "filter.help" : "filter.help-user", { words }) : t("filter.wrong", { word: wrong, words });
    this.#says.classList.toggle("fault", wrong !== null);
  }
}
