// The server's clock as this page knows it, and the one tick that drives everything that counts.
//
// Each answer's `Date` header is a whole second that the server was in, at some moment between
// our sending and our hearing. So each answer narrows where the difference of the clocks can be.

const TICK_MS = 250;
const DRIFT_MS = 2; // per answer, so that a clock that is set anew is believed in the end

let low = -Infinity;
let high = Infinity;

/** Call with an answer's `Date` header, and when its request was sent and its answer heard. */
export function heard(date, sentAt, heardAt) {
  const second = Date.parse(date ?? "");
  if (Number.isNaN(second)) return;
  low = Math.max(low - DRIFT_MS, second - heardAt);
  high = Math.min(high + DRIFT_MS, second + 1_000 - sentAt);
  if (low > high) {
    low = second - heardAt;
    high = second + 1_000 - sentAt;
  }
}

/** Milliseconds to add to this machine's clock to get the server's. */
export const offsetMs = () => (Number.isFinite(low) ? (low + high) / 2 : 0);

export const serverNow = () => Date.now() + offsetMs();

const watchers = new Set();

/** `tick()` a few times a second while the page can be seen. Returns how to stop it. */
export function everyTick(tick) {
  watchers.add(tick);
  return () => watchers.delete(tick);
}

setInterval(() => {
  if (!document.hidden) watchers.forEach((tick) => tick());
}, TICK_MS);
