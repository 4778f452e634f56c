// What somebody chose on this page, kept in this browser where it lets us keep anything.

const PREFIX = "actor-queue ";

export function remembered(name, otherwise) {
  try {
    return localStorage.getItem(PREFIX + name) ?? otherwise;
  } catch {
    return otherwise; // storage is forbidden: the choice lasts as long as the page
  }
}

export function remember(name, value) {
  try {
    localStorage.setItem(PREFIX + name, value);
  } catch {
    // As above.
  }
}
