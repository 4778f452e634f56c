// Finds operations by any word of theirs: title, path, fields, descriptions.

import { byId, count } from "./dom.js";

export function wireSearch() {
  const field = byId("search");
  const operations = [...document.querySelectorAll(".operation")].map((node) => ({ node, words: node.textContent.toLowerCase() }));
  field.addEventListener("input", () => filter(field.value, operations));
  field.addEventListener("keydown", (event) => {
    if (event.key === "Enter") operations.find(({ node }) => !node.hidden)?.node.scrollIntoView();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "/" || event.ctrlKey || event.metaKey || /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName)) return;
    event.preventDefault();
    field.focus();
  });
}

function filter(text, operations) {
  const wanted = text.toLowerCase().split(/\s+/).filter(Boolean);
  let found = 0;
  for (const { node, words } of operations) {
    node.hidden = !wanted.every((word) => words.includes(word));
    found += node.hidden ? 0 : 1;
    const link = document.querySelector(`#contents a[href="#${CSS.escape(node.id)}"]`);
    if (link) link.parentElement.hidden = node.hidden;
  }
  for (const section of document.querySelectorAll(".tag")) section.hidden = section.querySelector(".operation:not([hidden])") === null;
  for (const list of byId("contents").querySelectorAll("ul")) {
    const empty = list.querySelector("li:not([hidden])") === null;
    list.hidden = list.previousElementSibling.hidden = empty;
  }
  byId("found").textContent = wanted.length === 0 ? "" : `${count(found, "operation")} found`;
}
