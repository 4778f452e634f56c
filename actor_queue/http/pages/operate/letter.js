// The request of a dead letter, or of a batch that is tried again: its texts, and the same as curl. The service writes
// down who asked.

import { Away, Problem, callText } from "../api.js";
import { copyButton, el, jsonBlock, parseJson, quoted } from "../dom.js";
import { quietly, sentenceOf } from "./panel.js";
import { say, show } from "./say.js";
import { textLine } from "./texts.js";
import { pathOf } from "./verbs.js";
import { t } from "./words.js";

export async function openLetter(id) {
  await told(async () => {
    const said = await callText("GET", `api/dead/${encodeURIComponent(id)}?texts=true`);
    showRequest(t("dead.letter"), id, bodyIn(said), parseJson(said)); // numbers keep the digits that they were sent with
  });
}

/**
 * The request of an attempt that failed: that of the batch while it is tried again, and that of the
 * dead letter when it is one. Of a batch that was delivered nothing is kept.
 */
export async function openRequest(id, whose) {
  await told(async () => {
    const { request } = JSON.parse(await callText("GET", pathOf(whose, "", { texts: true })));
    if (request?.batch_id === id) return showRequest(t("attempt.request"), id, request.body, parseJson(request.body));
    const said = await quietly(() => callText("GET", `api/dead/${encodeURIComponent(id)}?texts=true`));
    if (said === null) return say(t("attempt.gone"));
    showRequest(t("dead.letter"), id, bodyIn(said), parseJson(said));
  });
}

function showRequest(title, id, body, json) {
  const { messages = [] } = parseJson(body) ?? {}; // null where it is masked
  show(
    title,
    el("ol", { class: "texts" }, ...messages.map(textLine)),
    el("details", {}, el("summary", {}, t("dead.curl")), curlBlock(id, body)),
    el("details", {}, el("summary", {}, t("texts.json")), jsonBlock(json, t("copy"))),
  );
}

async function told(open) {
  try {
    await open();
  } catch (error) {
    if (!(error instanceof Problem || error instanceof Away)) throw error;
    say(sentenceOf(error), "bad");
  }
}

/**
 * The webhook's body as the receiver was sent it, byte for byte: what was parsed and written again
 * may differ, and then its signature would. It is the last field, and no text has this mark in it,
 * because JSON escapes a text's quotes.
 */
export const bodyIn = (said) => said.slice(said.indexOf(BODY) + BODY.length, said.lastIndexOf("}"));

const BODY = ',"batch":';

/** Where it goes and what it is signed with are the service's secrets, and stay variables here. */
function curlBlock(id, body) {
  const lines = [`curl "$WEBHOOK_URL"`, `-H 'content-type: application/json'`, `-H ${quoted(`webhook-id: ${id}`)}`, `-H ${quoted(`idempotency-key: ${id}`)}`, `--data-binary ${quoted(body)}`];
  const text = lines.join(" \\\n  ");
  return el("div", { class: "code" }, el("pre", { tabindex: "0", class: "wrapped" }, text), copyButton(() => text, t("copy")));
}
