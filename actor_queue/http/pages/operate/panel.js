// A part of a page that fails alone: when what it shows cannot be had, it says so in one sentence
// and the rest of the page goes on.

import { Away, Problem } from "../api.js";
import { el } from "../dom.js";
import { refused } from "./session.js";
import { t } from "./words.js";

export class Panel {
  /** `title` may be empty, for a part whose heading is the page's. */
  constructor(title, props = {}) {
    this.body = el("div", { class: "panel-body" });
    this.fault = el("p", { class: "fault", hidden: true });
    this.tools = el("div", { class: "panel-tools" });
    this.heading = title ? el("h2", {}, title) : "";
    const head = title ? el("header", { class: "panel-head" }, this.heading, this.tools) : "";
    this.node = el("section", { ...props, class: `panel card ${props.class ?? ""}` }, head, this.fault, this.body);
    if (title) this.node.setAttribute("aria-label", title);
  }

  /** Runs `load()`. What it raises is told here; false then. */
  async fill(load) {
    try {
      await load();
      this.fault.hidden = true;
      return true;
    } catch (error) {
      if (!(error instanceof Problem || error instanceof Away)) throw error;
      this.fault.textContent = sentenceOf(error);
      this.fault.hidden = false;
      return false;
    }
  }
}

const NO_PATH = "there is nothing at this path";

/** What went wrong, for somebody who did nothing wrong. */
export function sentenceOf(error) {
  if (error instanceof Away) return t("fault.away");
  if (error.status === 405) return t("fault.absent");
  // Where the path is there, a 404 is about what was asked for, and says more than we know.
  if (error.status === 404 && (error.detail ?? NO_PATH) === NO_PATH) return t("fault.absent");
  if (error.status === 400 && error.field !== undefined) return t("fault.parameter", { field: error.field });
  // A key that is bound to a route may not ask about all of them, and has lost nothing.
  if (error.status === 403 && error.title !== "Another route") refused();
  return error.message;
}

/** `load()`'s answer, or null where the service has no such thing or does not answer. */
export async function quietly(load) {
  try {
    return await load();
  } catch (error) {
    if (error instanceof Problem || error instanceof Away) return null;
    throw error;
  }
}
