// A page of a filtered list. The service looks at so many entries for one request and then answers
// with a cursor, though the page is not full; this asks on, a bounded number of times.

import { callList } from "../api.js";
import { serverNow } from "../clock.js";

const REQUESTS_MAX = 5;

/**
 * `{found, cursor, at}`: at most `limit` of what `name` holds in the answers of `path`, and when, by
 * the server's clock, that was so. `fresh` where it must have been read after this was called.
 */
export async function gather(path, name, given, limit, after, fresh) {
  const found = [];
  let at = serverNow();
  let cursor = after;
  for (let asked = 0; asked < REQUESTS_MAX && found.length < limit; asked += 1) {
    const query = new URLSearchParams({ ...given, limit: limit - found.length });
    if (cursor !== null) query.set("cursor", cursor);
    const { answer: page, ageMs } = await callList(`${path}?${query}`, fresh);
    at = serverNow() - ageMs;
    found.push(...page[name]);
    cursor = page.cursor ?? null;
    if (cursor === null) break;
  }
  return { found, cursor, at };
}
