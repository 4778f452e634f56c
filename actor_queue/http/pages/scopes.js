// What this page's key may do, for the playground: what would be refused cannot be pressed.

import { Away, Problem, call } from "./api.js";
import { byId } from "./dom.js";

let scopes = null; // not known: everything may be tried, and a refusal says why not

export const mayAct = () => scopes === null || scopes.includes("admin");

const mayWrite = () => mayAct() || scopes.includes("ingest");

export async function learnScopes() {
  try {
    scopes = (await call("GET", "api/session")).scopes;
  } catch (error) {
    if (!(error instanceof Problem || error instanceof Away)) throw error;
  }
  for (const id of ["send", "burst", "text", "door-send"]) byId(id).disabled = !mayWrite();
  byId("text").placeholder = mayWrite() ? "Oi, tudo bem?" : "This key may not write messages";
  byId("hold").disabled = !mayAct();
  byId("hold").title = mayAct() ? "While held, messages collect and nothing goes out" : "Needs a key with the scope admin";
}
