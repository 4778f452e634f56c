// Two lists for whoever runs the service: who is waiting, and what could not be delivered.

import { byId, clock, count, duration, el } from "./dom.js";
import { mayAct } from "./scopes.js";

const SURE_MS = 3_000;
const TONES = { collecting: "good", delivering: "good", retrying: "warn", held: "calm" };

/** `users` as `GET api/users` lists them; `choose(name)` when one is picked. */
export function showWaiting(users, more, choose) {
  const asOf = performance.now();
  byId("waiting-count").textContent = more ? `${users.length}+` : String(users.length);
  byId("more-waiting").hidden = !more;
  byId("no-waiting").hidden = users.length > 0;
  byId("waiting-list").replaceChildren(...users.map((user) => waitingLine(user, asOf, choose)));
}

function waitingLine(user, asOf, choose) {
  const left = el("span", { class: "detail left" });
  if (user.fires_in !== null) left.dataset.end = String(asOf + user.fires_in * 1000);
  return el(
    "li",
    {},
    el("button", { class: "name", type: "button", title: user.user, onclick: () => choose(user.user) }, user.user),
    el("span", { class: "detail" }, count(user.pending + (user.batch?.messages ?? 0), "message")),
    left,
    el("span", { class: "chip", data: { tone: TONES[user.state] ?? "" } }, user.state),
  );
}

/** Counts the lines of `showWaiting` down; call it a few times a second. */
export function tickWaiting() {
  for (const node of byId("waiting-list").querySelectorAll("[data-end]")) {
    node.textContent = duration((Number(node.dataset.end) - performance.now()) / 1000, 0);
  }
}

/** `letters` as `GET api/dead` lists them; `replay(id)` and `drop(id)` when asked for. */
export function showDead(letters, more, replay, drop) {
  byId("dead-count").textContent = more ? `${letters.length}+` : String(letters.length);
  byId("more-dead").hidden = !more;
  byId("no-dead").hidden = letters.length > 0;
  byId("dead-list").replaceChildren(...letters.map((letter) => deadLine(letter, replay, drop)));
}

function deadLine(letter, replay, drop) {
  const when = letter.died_at ? `${clock(new Date(letter.died_at))} · ` : "";
  const again = el("button", { class: "button quiet", type: "button", onclick: () => replay(letter.id) }, "Replay");
  again.disabled = letter.queued === true || !mayAct();
  return el(
    "li",
    {},
    el("span", { class: "name", title: letter.user }, letter.user),
    el("span", { class: "detail", title: letter.answer ?? "" }, `${when}${count(letter.messages, "message")} · ${letter.reason}`),
    el("span", { class: "verbs" }, again, dropButton(() => drop(letter.id))),
  );
}

function dropButton(drop) {
  const button = el("button", { class: "button quiet", type: "button" }, "Drop");
  button.disabled = !mayAct();
  button.addEventListener("click", () => {
    if (button.dataset.asked) return drop();
    button.dataset.asked = "yes";
    button.textContent = "Drop for good?";
    setTimeout(() => {
      delete button.dataset.asked;
      button.textContent = "Drop";
    }, SURE_MS);
  });
  return button;
}
