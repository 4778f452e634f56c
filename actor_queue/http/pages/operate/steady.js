// Whether somebody is about to press something in a list, so that nothing in it may move.

const HOVERS = matchMedia("(hover: hover)"); // on a phone the last thing touched stays hovered

export const isInUse = (node) => (HOVERS.matches && node.matches(":hover")) || node.querySelector(":focus-visible") !== null;
