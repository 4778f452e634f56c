// A list's place, in pages.

import { el } from "../dom.js";
import { t } from "./words.js";

/** Where in the list the page is: the cursors that led here, and the one that leads on. */
export class Pager {
  #before = [];
  #next = null;
  #moved;

  constructor(moved) {
    this.cursor = null;
    this.#moved = moved;
    this.first = el("button", { class: "button small-button", type: "button", onclick: () => this.#back(0) }, t("pager.first"));
    this.previous = el("button", { class: "button small-button", type: "button", onclick: () => this.#back(-1) }, t("pager.previous"));
    this.next = el("button", { class: "button small-button", type: "button", onclick: () => this.#forward() }, t("pager.next"));
    this.text = el("span", { class: "muted small" });
    this.node = el("nav", { class: "pager", hidden: true, "aria-label": t("pager.label") }, this.first, this.previous, this.text, this.next);
  }

  reset() {
    this.#before = [];
    this.cursor = null;
  }

  found(n, next) {
    this.#next = next ?? null;
    this.first.disabled = this.previous.disabled = this.#before.length === 0;
    this.next.disabled = this.#next === null;
    this.node.hidden = this.#before.length === 0 && this.#next === null;
    this.text.textContent = t("pager.page", { page: this.#before.length + 1, n });
  }

  #forward() {
    if (this.#next === null) return;
    this.#before.push(this.cursor);
    this.cursor = this.#next;
    this.#moved();
  }

  #back(steps) {
    if (steps === 0) this.#before.length = Math.min(1, this.#before.length);
    this.cursor = this.#before.pop() ?? null;
    this.#moved();
  }
}
