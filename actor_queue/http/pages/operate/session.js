// Who looks at this page and what they may do. `read` sees, `admin` acts.

import { Away, Problem, call, key, signOut } from "../api.js";
import { byId, el } from "../dom.js";
import { t } from "./words.js";

const state = { scope: null, name: null, known: false };
const watchers = new Set();

/** Whether the buttons that change something may be pressed, as far as the page knows. */
export const canAct = () => state.scope === null || state.scope === "admin";

/** `tell()` whenever what may be done has changed, for as long as the page lives. */
export const onSession = (tell) => watchers.add(tell);

export async function learnSession() {
  try {
    const { scope = null, name = null } = await call("GET", "api/session");
    become(scope, name, true);
  } catch (error) {
    if (!(error instanceof Problem || error instanceof Away)) throw error;
    become(state.scope, null, state.known); // a release without sessions: the first 403 tells
  }
}

/** The service has just refused what this key may not do. */
export function refused() {
  if (canAct()) become("read", state.name, state.known);
}

function become(scope, name, known) {
  Object.assign(state, { scope, name, known });
  byId("look-only").hidden = canAct();
  document.documentElement.classList.toggle("look-only", !canAct());
  showWho();
  watchers.forEach((tell) => tell());
}

export function showWho() {
  const signedIn = state.name !== null || key() !== null;
  const leave = el("button", { class: "button quiet", type: "button", onclick: leaveNow }, t("sign-out"));
  const name = state.name ? el("span", { class: "muted small" }, `${state.name} · ${state.scope}`) : "";
  byId("who").replaceChildren(...(signedIn ? [name, leave] : []));
}

async function leaveNow() {
  await signOut();
  location.reload();
}

/** A button that acts: pressed only by those who may. */
export function actButton(label, press, props = {}) {
  const button = el("button", { class: "button small-button", type: "button", onclick: press, data: { acts: "yes" }, ...props }, label);
  button.disabled = !canAct() || props.disabled === true;
  if (!canAct()) button.title = t("needs-admin");
  return button;
}
