// What somebody wrote: masked until asked for. Asking needs `admin`, and the service writes down
// who asked.

import { callText } from "../api.js";
import { el, jsonBlock, parseJson } from "../dom.js";
import { Panel } from "./panel.js";
import { actButton } from "./session.js";
import { moment } from "./time.js";
import { pathOf } from "./verbs.js";
import { t } from "./words.js";

const CHARACTERS_SHOWN = 400;
const ITEMS_SHOWN = 200;

export class TextsPanel {
  #whose;
  #found;

  /** `whose` is a conversation, `{user, route}`; `found(items)` with each message's original object, `seq`, `message_id` and `received_at`. */
  constructor(whose, found) {
    this.#whose = whose;
    this.#found = found;
    this.panel = new Panel(t("texts.title"));
    this.node = this.panel.node;
    this.#mask();
  }

  redraw() {
    if (this.masked) this.#mask();
  }

  #mask() {
    this.masked = true;
    const show = actButton(t("texts.show"), () => this.#ask());
    this.panel.body.replaceChildren(el("p", { class: "muted" }, t("texts.masked")), show);
  }

  async #ask() {
    await this.panel.fill(async () => {
      const { messages = [] } = parseJson(await callText("GET", pathOf(this.#whose, "", { texts: true })));
      this.masked = false;
      this.#found(messages);
      const hide = el("button", { class: "button small-button", type: "button", onclick: () => this.#mask() }, t("texts.hide"));
      const none = messages.length === 0 ? el("p", { class: "hollow" }, t("texts.none")) : "";
      this.panel.body.replaceChildren(hide, none, el("ol", { class: "texts" }, ...messages.slice(0, ITEMS_SHOWN).map(textLine)));
    });
  }
}

/** One message: its text, the first part of a long one, and all of it as JSON. */
export function textLine(item) {
  const text = typeof item === "string" ? item : String(item.message ?? "");
  const words = el("p", { class: "text", dir: "auto" }, text.slice(0, CHARACTERS_SHOWN));
  if (text.length > CHARACTERS_SHOWN) {
    const more = el("button", { class: "button quiet", type: "button" }, t("texts.more", { n: text.length - CHARACTERS_SHOWN }));
    more.addEventListener("click", () => { words.textContent = text; more.remove(); });
    words.append("… ", more);
  }
  if (typeof item === "string") return el("li", {}, words);
  const whole = el("details", {}, el("summary", { class: "small" }, t("texts.json")));
  whole.addEventListener("toggle", () => whole.open && whole.children.length === 1 && whole.append(jsonBlock(item, t("copy"))));
  return el("li", {}, item.received_at ? moment(item.received_at) : "", words, whole);
}
