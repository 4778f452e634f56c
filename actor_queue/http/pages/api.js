// The service as the pages reach it: relative to the page, with a key when one is asked for,
// and with "the server is away" told apart from "the server said no".

import { heard } from "./clock.js";
import { byId } from "./dom.js";

const CALL_TIMEOUT_MS = 10_000;
const PING_EVERY_MS = 2_000; // a Redis that dies is said within this and the service's own 3 s
const PING_TIMEOUT_MS = 4_000;
const RECONNECT_MS = [300, 600, 1_200, 2_500];
const FORBIDDEN_WAIT_MS = 20_000;
const PUT_OFF_MS_MAX = 60_000; // the server may ask for that long a pause, and for no longer one
const KEY_NAME = "actor-queue key";

/** Where the service lives, whatever prefix a proxy put before it. Ends with a slash. */
export const ROOT = new URL(".", document.baseURI).href;

/** The server answered with a problem (RFC 9457). */
export class Problem extends Error {
  constructor(status, problem, retryAfter) {
    super(problem.detail ?? problem.title ?? `The server answered ${status}`);
    this.status = status;
    this.title = problem.title;
    this.detail = problem.detail;
    this.field = problem.field;
    this.retryAfter = retryAfter;
  }
}

/** No answer. The request may or may not have been carried out. */
export class Away extends Error {}

export const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** The answer's text. Raises Problem or Away; asks for a key and goes on with it. */
export const callText = async (...asked) => (await told(...asked)).text;

async function told(method, path, body, timeoutMs = CALL_TIMEOUT_MS, given = undefined) {
  for (;;) {
    const used = entrances;
    const response = await reach(method, path, body, AbortSignal.timeout(timeoutMs), "application/json", given);
    const text = await textOf(response);
    if (response.ok) {
      wasIn ||= path !== "readyz"; // which is open to everybody
      return { text, headers: response.headers };
    }
    if (response.status === 401) {
      await askForKey(used, problemIn(text));
      continue;
    }
    throw new Problem(response.status, problemIn(text), Number(response.headers.get("retry-after")));
  }
}

/** The answer as it is, whatever its status. `{status, headers, text, tookMs}`. Raises Away. */
export async function tryCall(method, path, body, headers) {
  for (;;) {
    const used = entrances;
    const begun = performance.now();
    const response = await reach(method, path, body, AbortSignal.timeout(CALL_TIMEOUT_MS), "*/*", headers);
    const text = await textOf(response);
    if (response.status === 401) {
      await askForKey(used, problemIn(text));
      continue;
    }
    return { status: response.status, headers: [...response.headers], text, tookMs: performance.now() - begun };
  }
}

/**
 * A body that goes as it is to a platform's door. `{status, text}`. Raises Away.
 *
 * A door that answers 401 may want a signature, which no key of this page would be: so nobody is
 * asked for one.
 */
export async function knock(path, body) {
  const json = { "content-type": "application/json" };
  const response = await reach("POST", path, body, AbortSignal.timeout(CALL_TIMEOUT_MS), "*/*", json);
  return { status: response.status, text: await textOf(response) };
}

export const call = async (method, path, body) => JSON.parse(await callText(method, path, body));

/**
 * A list that other pages may be asking for, too: the service answers all of them with one reading,
 * which may be a second old unless it has to be `fresh`. `{answer, ageMs}`
 */
export async function callList(path, fresh) {
  const { text, headers } = await told("GET", path, undefined, CALL_TIMEOUT_MS, fresh ? {} : SHARED);
  return { answer: JSON.parse(text), ageMs: Number(headers.get("answer-age-ms") ?? 0) };
}

const SHARED = { "cache-control": "max-age=1" };

/** `body` is sent as JSON, unless `given` headers say what it is. */
async function reach(method, path, body, signal, accept = "application/json", given = undefined) {
  const headers = { accept, ...given };
  if (body !== undefined && given === undefined) headers["content-type"] = "application/json";
  if (key() !== null) headers.authorization = `Bearer ${key()}`;
  const sentAt = Date.now();
  try {
    const response = await fetch(ROOT + path, {
      method,
      headers,
      signal,
      body: body === undefined || given !== undefined ? body : JSON.stringify(body),
      cache: "no-store",
    });
    heard(response.headers.get("date"), sentAt, Date.now());
    return response;
  } catch (error) {
    throw new Away("No answer", { cause: error });
  }
}

async function textOf(response) {
  try {
    return await response.text();
  } catch (error) {
    throw new Away("The answer broke off", { cause: error });
  }
}

function problemIn(text) {
  try {
    return JSON.parse(text) ?? {};
  } catch {
    return {};
  }
}

// Signing in: a key for a session cookie. Where the service has no sessions, the key stays in
// this tab and goes with each request.

export const key = () => sessionStorage.getItem(KEY_NAME);

let entrances = 0; // how many times somebody signed in here
let asking = null;

/** `problem`: what the server said. A session that is over is no key that was wrong. */
function askForKey(used, problem = {}) {
  if (entrances !== used) return Promise.resolve(); // somebody signed in meanwhile
  asking ??= answered(wasIn || OVER.test(problem.detail ?? "")).finally(() => (asking = null));
  return asking;
}

let wasIn = false; // whether the server has answered this page before: then its session is over
const OVER = /^this session is over/;

async function answered(over) {
  const dialog = byId("key-dialog");
  if (key() !== null) refuse();
  else if (over) byId("key-text").textContent = byId("key-text").dataset.over ?? "Your session is over. Sign in again to go on.";
  sessionStorage.removeItem(KEY_NAME);
  dialog.addEventListener("cancel", (event) => event.preventDefault());
  if (!dialog.open) dialog.showModal();
  for (;;) {
    const typed = await submitted();
    const problem = await enter(typed);
    if (problem === null) break;
    refuse(problem);
  }
  entrances += 1;
  dialog.close();
}

function submitted() {
  return new Promise((resolve) => {
    const take = (event) => {
      event.preventDefault(); // the dialog closes once the service has taken the key
      const typed = byId("key").value.trim();
      byId("key").value = "";
      resolve(typed);
    };
    byId("key-form").addEventListener("submit", take, { once: true });
  });
}

function refuse(detail) {
  const text = byId("key-text");
  text.textContent = detail ?? text.dataset.wrong ?? "The server did not take that key. Try another.";
  text.dataset.tone = "bad";
}

/** What stands against this key; null when it opened the door, or may have. */
async function enter(typed) {
  try {
    const response = await reach("POST", "api/session", { key: typed }, AbortSignal.timeout(CALL_TIMEOUT_MS));
    if (response.ok) return null;
    if (response.status === 404 || response.status === 405) {
      sessionStorage.setItem(KEY_NAME, typed);
      return null;
    }
    if (response.status === 401) return undefined;
    return problemIn(await textOf(response)).detail ?? undefined;
  } catch (error) {
    return error.message;
  }
}

/** Ends this session, in all tabs where it is a cookie. */
export async function signOut() {
  sessionStorage.removeItem(KEY_NAME);
  try {
    await reach("DELETE", "api/session", undefined, AbortSignal.timeout(CALL_TIMEOUT_MS));
  } catch {
    // The cookie cannot be taken back now; the page says so by still being signed in.
  }
  entrances += 1;
  wasIn = false;
}

// What happens, as it happens

/**
 * Follows `api/events` for as long as the page lives. `onEvent(name, data)`;
 * `onLink(state, detail)` with "up", "away", "degraded" (it answers, but accepts nothing),
 * "blind" (it answers, but gives no events to this key) or "signed-out" (it asks for a key).
 *
 * EventSource cannot send a key, so this reads the stream itself.
 */
export async function follow(onEvent, onLink) {
  for (let failures = 0; ; failures += 1) {
    try {
      const wanted = await stream(onEvent, onLink);
      failures = 0;
      // A page that was put out because too many listen would put out the next one at once.
      // What ended of itself may be a session, which is told apart from a server that is gone by
      // asking again; the one after this says which.
      if (wanted > RECONNECT_MS.at(-1)) await watchBlindly(onLink, wanted);
    } catch (error) {
      if (error instanceof Problem && error.status < 500) await watchBlindly(onLink, FORBIDDEN_WAIT_MS);
      else if (error instanceof Problem) onLink("degraded", error.message);
      else onLink("away");
    }
    await pause(RECONNECT_MS[Math.min(failures, RECONNECT_MS.length - 1)]);
  }
}

/** Returns when a stream that was open ended: after how many ms the server wants the next one. */
async function stream(onEvent, onLink) {
  const stop = new AbortController();
  const response = await openStream(stop.signal, onLink);
  const pinging = setInterval(() => ping(onLink).catch(() => stop.abort()), PING_EVERY_MS);
  try {
    await ping(onLink);
    return await readEvents(response.body, onEvent);
  } finally {
    clearInterval(pinging);
    stop.abort();
  }
}

async function openStream(signal, onLink) {
  for (;;) {
    const used = entrances;
    const response = await reach("GET", "api/events", undefined, signal, "text/event-stream");
    if (response.ok) return response;
    const problem = problemIn(await textOf(response));
    if (response.status !== 401) throw new Problem(response.status, problem);
    onLink("signed-out");
    await askForKey(used, problem);
  }
}

async function ping(onLink) {
  try {
    await callText("GET", "readyz", undefined, PING_TIMEOUT_MS);
    onLink("up");
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    onLink("degraded", error.message);
  }
}

/** Hears no events for `ms`, and says whether the service answers. Ends sooner when it does not. */
async function watchBlindly(onLink, ms) {
  const until = performance.now() + ms;
  try {
    do {
      await ping((state, detail) => onLink(state === "up" ? "blind" : state, detail));
      await pause(PING_EVERY_MS);
    } while (performance.now() < until);
  } catch {
    onLink("away");
    await pause(RECONNECT_MS.at(-1));
  }
}

/** The server's last `retry:` in ms, 0 where it said none. */
async function readEvents(body, onEvent) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let retryMs = 0;
  for (;;) {
    const { value, done } = await reader.read().catch(() => ({ done: true }));
    if (done) return retryMs;
    const blocks = (rest + value).replaceAll("\r\n", "\n").split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const [, told] = block.match(RETRY) ?? [];
      if (told !== undefined) retryMs = Math.min(Number(told), PUT_OFF_MS_MAX);
      dispatch(block, onEvent);
    }
  }
}

const RETRY = /^retry: ?(\d+)$/m;

function dispatch(block, onEvent) {
  let name = "message";
  const data = [];
  for (const line of block.split("\n")) {
    if (line.startsWith("event:")) name = line.slice(6).trim();
    if (line.startsWith("data:")) data.push(line.slice(5).trimStart());
  }
  if (data.length > 0) onEvent(name, JSON.parse(data.join("\n")));
}
