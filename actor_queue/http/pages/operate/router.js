// Which view is open. It stands behind the `#`, so it can be shared and gone back to, and a user's
// name in it reaches no server's or proxy's log.

import { el } from "../dom.js";

/** A conversation is a user on a route. The route `default` is left unsaid in every address. */
export const DEFAULT_ROUTE = "default";

/** `route` where it has to be said; undefined for the default one. */
export const routeGiven = (route) => (route === undefined || route === null || route === DEFAULT_ROUTE ? undefined : route);

/** What tells a conversation from every other, whatever its user and its route are called. */
export const keyOf = ({ user, route }) => JSON.stringify([routeGiven(route) ?? DEFAULT_ROUTE, user]);

/** How sentences call a conversation. */
export const calledOf = ({ user, route }) => (routeGiven(route) === undefined ? user : `${user} (${route})`);

/** The route beside the name of a user, where it is not the default one. */
export const routeChip = ({ route }) => (routeGiven(route) === undefined ? "" : el("span", { class: "chip route-name" }, route));

/** `{name, params}` of the address, with `waiting` for an address that says nothing. */
export function here() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  return { name: path || "waiting", params: new URLSearchParams(query) };
}

export function addressOf(name, params = {}) {
  const given = Object.entries(params).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  const query = new URLSearchParams(given).toString();
  return `#/${name}${query && `?${query}`}`;
}

export const userAddress = ({ user, route }) => addressOf("user", { user, route: routeGiven(route) });

/** Changes the address in place, so that "back" leaves the view and not the last key pressed. */
export function restate(name, params) {
  history.replaceState(null, "", addressOf(name, params));
}
