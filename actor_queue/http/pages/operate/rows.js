// The rows of Waiting. A row keeps its node while its conversation stays, so that neither focus nor a
// press goes astray; and while somebody points into the list, nobody changes places in it.

import { el } from "../dom.js";
import { calledOf, keyOf, routeChip, userAddress } from "./router.js";
import { isInUse } from "./steady.js";
import { clockOf, countOf, stateChip, whyOf } from "./user-line.js";
import { verbButtons } from "./verbs.js";
import { t } from "./words.js";

const STEADY_ROWS_MAX = 150; // rows that stay for somebody who points at the list

export class Rows {
  #rows = new Map();
  #bulk;
  #after;

  constructor(bulk, after) {
    this.#bulk = bulk;
    this.#after = after;
    this.node = el("ul", { class: "rows", "aria-label": t("page.waiting") });
  }

  /** `users` as the API lists them, asked for at `askedAt` of the server's clock. */
  show(users, askedAt) {
    const keys = new Set(users.map(keyOf));
    const steady = isInUse(this.node) && this.#rows.size < STEADY_ROWS_MAX;
    for (const [key, row] of this.#rows) {
      if (keys.has(key)) continue;
      if (steady) row.leave();
      else this.#remove(key, row);
    }
    users.forEach((line, place) => this.#put(line, askedAt, steady ? null : place));
  }

  redraw() {
    for (const row of this.#rows.values()) row.draw();
  }

  #put(line, askedAt, place) {
    const key = keyOf(line);
    let row = this.#rows.get(key);
    if (row === undefined) {
      row = new Row(this.#bulk, this.#after);
      this.#rows.set(key, row);
      this.node.append(row.node);
    }
    row.update(line, askedAt);
    const there = place === null ? row.node : this.node.children[place];
    if (there !== row.node) this.node.insertBefore(row.node, there);
  }

  #remove(key, row) {
    row.node.remove();
    this.#rows.delete(key);
  }
}

class Row {
  #line = null;
  #askedAt = 0;
  #drawn = "";
  #bulk;
  #after;

  constructor(bulk, after) {
    this.#bulk = bulk;
    this.#after = after;
    this.pick = el("input", { type: "checkbox", onchange: () => this.#bulk.pick(this.#line, this.pick.checked) });
    this.name = el("a", { class: "row-link" });
    this.facts = el("div", { class: "row-facts" });
    this.why = el("p", { class: "row-why" });
    this.clock = el("span", { class: "row-clock" });
    this.verbs = el("div", { class: "row-verbs" });
    const head = el("div", { class: "row-head" }, this.name, this.facts);
    this.node = el("li", { class: "row" }, this.pick, head, this.clock, this.why, this.verbs);
  }

  update(line, askedAt) {
    this.#line = line;
    this.#askedAt = askedAt;
    this.node.classList.remove("gone");
    this.pick.checked = this.#bulk.isPicked(line);
    this.clock.replaceChildren(clockOf(line, askedAt));
    const now = JSON.stringify([line.state, line.pending, line.batch, line.held_for !== null, line.blocked]);
    if (now !== this.#drawn) this.draw();
    this.#drawn = now;
  }

  draw() {
    const line = this.#line;
    this.node.dataset.state = line.state;
    this.name.textContent = line.user;
    this.name.title = line.user;
    this.name.href = userAddress(line);
    this.pick.setAttribute("aria-label", t("pick", { user: calledOf(line) }));
    this.facts.replaceChildren(routeChip(line), stateChip(line.state), el("span", { class: "muted small" }, countOf(line)));
    this.why.textContent = whyOf(line);
    this.#buttons(verbButtons(line, this.#after));
  }

  // A button that has the focus stays the same node, so that pressing Tab or Enter goes on from it.
  #buttons(buttons) {
    const focused = [...this.verbs.children].indexOf(document.activeElement);
    this.verbs.replaceChildren(...buttons);
    if (focused >= 0) buttons[focused].focus();
  }

  /** Its user waits no longer. The row goes once nobody points at the list. */
  leave() {
    this.node.classList.add("gone");
    this.clock.textContent = t("row.gone");
    for (const button of this.verbs.children) button.disabled = true;
  }
}
