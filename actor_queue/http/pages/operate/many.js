// One verb for all that match a filter. The service counts, or does, a bounded piece for one request
// and says with a cursor that there is more; so it can be watched, and stopped between two pieces.

import { call } from "../api.js";

const PIECE = 200;
const COUNTS_MAX = 10; // requests, each of which looks at 10,000 at most

/** How many it would be: `{n, unsure}`; `unsure` where there are more than were looked at. */
export async function counted(path, filter) {
  let n = 0;
  let cursor = null;
  for (let asked = 0; asked < COUNTS_MAX; asked += 1) {
    const answer = await call("POST", path, { ...filter, dry_run: true, ...(cursor === null ? {} : { cursor }) });
    n += answer.would;
    cursor = answer.cursor ?? null;
    if (cursor === null) break;
  }
  return { n, unsure: cursor !== null };
}

/** Does it with all. `progress(n)` after each piece; it goes on while `goesOn()`. How many it was. */
export async function doForAll(path, body, progress, goesOn = () => true) {
  let n = 0;
  let cursor = null;
  do {
    const answer = await call("POST", path, { ...body, limit: PIECE, ...(cursor === null ? {} : { cursor }) });
    n += answer.done;
    cursor = answer.cursor ?? null;
    progress(n);
  } while (cursor !== null && goesOn());
  return n;
}
