// A receiver behind Express that answers later: it verifies, says 202, thinks, and looks once more
// before it speaks.
//
//     npm install
//     WEBHOOK_SECRET=whsec_… MODEL_URL=https://… SEND_URL=https://… PORT=9000 node receiver.js
//
// `think` and `send` are what you replace. One process, because what is being worked at is kept in
// its memory. Whatever a crash leaves unsaid comes again from the queue, or is in `ANSWERS_DIR`.

import { createHmac, timingSafeEqual } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import express from "express";

const { WEBHOOK_SECRET, MODEL_URL, SEND_URL, ANSWERS_DIR = "answers", PORT = "9000" } = process.env;
const CLOCKS_APART_S = 300;
const SEND_AGAIN_AFTER_S = [1, 5, 15, 60];
const IDS_MAX = 50;
const KNOWN_FOR_MS = 7 * 24 * 3_600_000; // that an answer was said: longer than a batch comes again, and not for ever

const key = Buffer.from(WEBHOOK_SECRET.replace(/^whsec_/, ""), "base64");
/** Of each batch that is being worked at: the address of its newest attempt. */
const urls = new Map();

/** The answer to everything that the user wrote in one go. An exception: the queue sends the batch
 * again, on its schedule. */
async function think(batch) {
  const answer = await postJson(MODEL_URL, { user: batch.user, messages: batch.messages }, 300);
  return (await answer.json()).text;
}

/** Say it to the user. Returns the ids that the platform gave to what was sent. */
async function send(batch, text) {
  const answer = await postJson(SEND_URL, { user: batch.user, text });
  return (await answer.json()).ids;
}

function webhook(request, response) {
  // What is no JSON has no body here.
  if (!Buffer.isBuffer(request.body) || !genuine(request)) return response.sendStatus(401);
  const batch = JSON.parse(request.body);
  const id = request.get("webhook-id");
  const url = request.get("aq-answer-url");
  if (url === undefined) {
    // `actor-queue doctor --send-test` is right to want no answer; anything else is not.
    return response.status(batch.test === true ? 200 : 501).send("this receiver needs AQ_ANSWER=later");
  }
  if (existsSync(file(id, "said"))) return response.sendStatus(200);
  // Another attempt at a batch that is being worked at: only its address is news.
  const known = urls.has(id);
  urls.set(id, url);
  response.sendStatus(202);
  if (!known) start(work(id, batch, Number(request.get("aq-answer-within"))));
}

/** Standard Webhooks: https://www.standardwebhooks.com */
function genuine(request) {
  const [id, at] = [request.get("webhook-id"), request.get("webhook-timestamp")];
  if (!(Math.abs(Date.now() / 1000 - Number(at)) <= CLOCKS_APART_S)) return false;
  const digest = createHmac("sha256", key).update(`${id}.${at}.`).update(request.body).digest("base64");
  const expected = Buffer.from(`v1,${digest}`);
  const shown = (request.get("webhook-signature") ?? "").split(" ").map((each) => Buffer.from(each));
  return shown.some((each) => each.length === expected.length && timingSafeEqual(each, expected));
}

async function work(id, batch, withinS) {
  const moreTime = setInterval(() => start(tell(id, "extend", { seconds: withinS })), (withinS * 1000) / 3);
  let text;
  try {
    text = await think(batch);
  } catch (error) {
    // Nothing but its kind: the text of an error may quote a user, or hold a key.
    console.warn(`no answer to ${id}: ${error.name}`);
    clearInterval(moreTime);
    const url = urls.get(id);
    urls.delete(id);
    await post(url, "fail", { reason: error.name });
    return;
  } finally {
    clearInterval(moreTime);
  }
  // Written down before it is announced, so that a crash from here on does not lose it.
  writeFileSync(file(id, "new"), JSON.stringify({ url: urls.get(id), batch, text }));
  renameSync(file(id, "new"), file(id, "ready"));
  await say(id, batch, text);
}

/** Say it, unless the user has gone on writing. May be repeated after a crash. */
async function say(id, batch, text) {
  if ((await tell(id, "done", { if: "latest" })) === 200) await sendUntilSent(id, batch, text);
  else rmSync(file(id, "ready")); // 409: taken back, and 410: out of time. Its messages come again.
  urls.delete(id);
}

async function sendUntilSent(id, batch, text) {
  for (const pauseS of [...SEND_AGAIN_AFTER_S, 0]) {
    let ids;
    try {
      ids = await send(batch, text);
    } catch (error) {
      console.warn(`cannot send the answer to ${id}: ${error.name}`);
      await sleep(pauseS * 1000);
      continue;
    }
    renameSync(file(id, "ready"), file(id, "said"));
    writeFileSync(file(id, "said"), ""); // of an answer that was said its id stays
    // So that no door takes the bot's own words for those of a human who answers.
    await tell(id, "done", { sent: ids.slice(0, IDS_MAX) });
    return;
  }
  console.error(`the answer to ${id} stays unsaid until the next start`);
}

/** The queue's answer, at the address of the newest attempt. */
async function tell(id, verb, body) {
  for (;;) {
    const url = urls.get(id);
    const status = await post(url, verb, body);
    if (status !== 410 || url === urls.get(id) || !urls.has(id)) return status;
  }
}

/** As often as it takes until the queue is there and answers. */
async function post(url, verb, body) {
  for (;;) {
    const answer = await fetch(`${url}/${verb}`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(30_000),
    }).catch(() => undefined);
    await answer?.arrayBuffer().catch(() => undefined);
    if (answer !== undefined && answer.status < 500) return answer.status;
    await sleep(1000);
  }
}

async function postJson(url, body, withinS = 30) {
  const answer = await fetch(url, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
    signal: AbortSignal.timeout(withinS * 1000),
  });
  if (!answer.ok) throw Object.assign(new Error(), { name: `Status${answer.status}` });
  return answer;
}

/** Where an answer is kept: `ready` to be said, or `said`. */
function file(id, state) {
  return join(ANSWERS_DIR, `${id}.${state}`);
}

function forgetOld() {
  for (const name of readdirSync(ANSWERS_DIR).filter((each) => each.endsWith(".said"))) {
    const path = join(ANSWERS_DIR, name);
    if (Date.now() - statSync(path).mtimeMs > KNOWN_FOR_MS) rmSync(path);
  }
}

function start(work) {
  work.catch((error) => console.error(error.name));
}

mkdirSync(ANSWERS_DIR, { recursive: true });
forgetOld();
setInterval(forgetOld, 3_600_000).unref();
for (const name of readdirSync(ANSWERS_DIR).filter((each) => each.endsWith(".ready"))) {
  // What an earlier process knew and did not say.
  const id = name.slice(0, -".ready".length);
  const { url, batch, text } = JSON.parse(readFileSync(file(id, "ready")));
  urls.set(id, url);
  start(say(id, batch, text));
}

const app = express();
app.post("/webhook", express.raw({ type: "application/json", limit: "4mb" }), webhook);
const server = app.listen(Number(PORT), () => console.log(`listening on port ${server.address().port}`));
