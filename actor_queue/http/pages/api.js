// The service as the pages reach it: relative to the page, with a key when one is asked for,
// and with "the server is away" told apart from "the server said no".

import { byId } from "./dom.js";

const CALL_TIMEOUT_MS = 10_000;
const PING_EVERY_MS = 8_000;
const PING_TIMEOUT_MS = 4_000;
const RECONNECT_MS = [300, 600, 1_200, 2_500];
const FORBIDDEN_WAIT_MS = 20_000;
const KEY_NAME = "actor-queue key";

/** Where the service lives, whatever prefix a proxy put before it. Ends with a slash. */
export const ROOT = new URL(".", document.baseURI).href;

/** The server answered with a problem (RFC 9457). */
export class Problem extends Error {
  constructor(status, problem, retryAfter) {
    super(problem.detail ?? problem.title ?? `The server answered ${status}`);
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

/** No answer. The request may or may not have been carried out. */
export class Away extends Error {}

export const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** The answer's text. Raises Problem or Away; asks for a key and goes on with it. */
export async function callText(method, path, body, timeoutMs = CALL_TIMEOUT_MS) {
  for (;;) {
    const used = key();
    const response = await reach(method, path, body, AbortSignal.timeout(timeoutMs));
    const text = await textOf(response);
    if (response.ok) return text;
    if (response.status === 401) {
      await askForKey(used);
      continue;
    }
    throw new Problem(response.status, problemIn(text), Number(response.headers.get("retry-after")));
  }
}

export const call = async (method, path, body) => JSON.parse(await callText(method, path, body));

async function reach(method, path, body, signal, accept = "application/json") {
  const headers = { accept };
  if (body !== undefined) headers["content-type"] = "application/json";
  if (key() !== null) headers.authorization = `Bearer ${key()}`;
  try {
    return await fetch(ROOT + path, {
      method,
      headers,
      signal,
      body: body === undefined ? undefined : JSON.stringify(body),
      cache: "no-store",
    });
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

// The key: this tab only

export const key = () => sessionStorage.getItem(KEY_NAME);

let asking = null;

function askForKey(used) {
  if (key() !== used) return Promise.resolve(); // somebody got one meanwhile
  asking ??= answered(used !== null).finally(() => (asking = null));
  return asking;
}

function answered(wasWrong) {
  const dialog = byId("key-dialog");
  if (wasWrong) byId("key-text").textContent = "The server did not take that key. Try another.";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("cancel", (event) => event.preventDefault());
    byId("key-form").addEventListener(
      "submit",
      () => {
        sessionStorage.setItem(KEY_NAME, byId("key").value.trim());
        byId("key").value = "";
        resolve();
      },
      { once: true },
    );
  });
}

// What happens, as it happens

/**
 * Follows `api/events` for as long as the page lives. `onEvent(name, data)`;
 * `onLink(state, detail)` with "up", "away", "degraded" (it answers, but accepts nothing)
 * or "blind" (it answers, but gives no events to this key).
 *
 * EventSource cannot send a key, so this reads the stream itself.
 */
export async function follow(onEvent, onLink) {
  for (let failures = 0; ; failures += 1) {
    try {
      await stream(onEvent, onLink);
      failures = 0;
      onLink("away");
    } catch (error) {
      if (error instanceof Problem && error.status < 500) await watchBlindly(onLink);
      else if (error instanceof Problem) onLink("degraded", error.message);
      else onLink("away");
    }
    await pause(RECONNECT_MS[Math.min(failures, RECONNECT_MS.length - 1)]);
  }
}

/** Returns when a stream that was open ended. */
async function stream(onEvent, onLink) {
  const stop = new AbortController();
  const response = await openStream(stop.signal);
  const pinging = setInterval(() => ping(onLink).catch(() => stop.abort()), PING_EVERY_MS);
  try {
    await ping(onLink);
    await readEvents(response.body, onEvent);
  } finally {
    clearInterval(pinging);
    stop.abort();
  }
}

async function openStream(signal) {
  for (;;) {
    const used = key();
    const response = await reach("GET", "api/events", undefined, signal, "text/event-stream");
    if (response.ok) return response;
    const problem = problemIn(await textOf(response));
    if (response.status !== 401) throw new Problem(response.status, problem);
    await askForKey(used);
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

async function watchBlindly(onLink) {
  try {
    await ping((state, detail) => onLink(state === "up" ? "blind" : state, detail));
    await pause(FORBIDDEN_WAIT_MS);
  } catch {
    onLink("away");
    await pause(RECONNECT_MS.at(-1));
  }
}

async function readEvents(body, onEvent) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read().catch(() => ({ done: true }));
    if (done) return;
    const blocks = (rest + value).replaceAll("\r\n", "\n").split("\n\n");
    rest = blocks.pop();
    blocks.forEach((block) => dispatch(block, onEvent));
  }
}

function dispatch(block, onEvent) {
  let name = "message";
  const data = [];
  for (const line of block.split("\n")) {
    if (line.startsWith("event:")) name = line.slice(6).trim();
    if (line.startsWith("data:")) data.push(line.slice(5).trimStart());
  }
  if (data.length > 0) onEvent(name, JSON.parse(data.join("\n")));
}
