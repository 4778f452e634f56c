"""The operator's view on a real `actor-queue dev`: Waiting, and one user's page."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.browser.conftest import ANSWER_S, Dev, fresh_page, running_dev
from tests.browser.test_playground import overflow, post

pytestmark = [pytest.mark.browser, pytest.mark.process]

# Two keys with no time between them: the page forgets the first after a second and a half.
G_AND_C = """() => ["g", "c"].forEach(
  key => document.activeElement.dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true}))
)"""

NAMES = ["zé da padaria 🥖", "<img src=x onerror=alert(1)>", "a/b?c#d", "ação%20"]


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    """A receiver that fails, 120 users who wait, and four whose batches are tried again."""
    with running_dev(tmp_path_factory.mktemp("crowd"), "--retry-schedule", "3000,3000") as dev:
        mode(dev, "fail")
        for name in NAMES:
            post(dev, {"user": name, "message": "Oi <b>", "ttl": 0})
        for number in range(120):
            post(dev, {"user": f"user.{number:03}", "message": "Oi", "ttl": 600 + number})
        yield dev


def test_waiting_shows_who_is_next_why_not_yet_and_what_is_wrong(crowd: Dev, page: Page) -> None:
    open_view(crowd, page, "waiting")
    rows = page.locator(".rows > .row")
    expect(rows).to_have_count(50)
    expect(rows.first.locator(".row-link")).to_have_text("user.000")
    expect(rows.first.locator(".row-why")).to_have_text("Waits until nothing more comes.")
    expect(tile(page, "waiting")).to_have_text("124")
    expect(tile(page, "retrying")).to_have_text("4")
    expect(page.locator('[data-tile="retrying"] .tile-detail')).to_contain_text("answered 500 (4)")


def test_the_list_goes_on_page_by_page_and_back(crowd: Dev, page: Page) -> None:
    open_view(crowd, page, "waiting")
    first = page.locator(".rows .row-link").first
    expect(first).to_have_text("user.000")
    page.get_by_role("button", name="Next").click()
    expect(first).to_have_text("user.050")
    page.get_by_role("button", name="Next").click()
    expect(first).to_have_text("user.100")
    page.get_by_role("button", name="Back").click()
    expect(first).to_have_text("user.050")
    page.get_by_role("button", name="First").click()
    expect(first).to_have_text("user.000")


def test_whatever_a_user_is_called_the_row_shows_it_and_opens_that_user(
    crowd: Dev, page: Page
) -> None:
    for name in NAMES:
        open_view(crowd, page, "waiting?q=state%3Aretrying")
        row = page.locator(".row", has=page.get_by_role("link", name=name, exact=True))
        expect(row.locator(".row-why")).to_contain_text("answered 500")
        row.click(position={"x": 300, "y": 3})  # the row, and not its name
        expect(page.locator("h1")).to_have_text(name)
        expect(page.locator(".now-why")).to_contain_text("Attempt 1 failed: answered 500")
    assert page.locator("img[src=x]").count() == 0


def test_the_picture_shows_the_attempt_and_a_press_its_json(crowd: Dev, page: Page) -> None:
    open_user(crowd, page, NAMES[0])
    page.locator(".picture .attempt").first.click()
    expect(page.locator(".chosen pre")).to_contain_text('"status": 500')


def test_the_request_of_a_batch_that_is_tried_again_is_opened_as_its_receiver_is_sent_it(
    crowd: Dev, page: Page
) -> None:
    open_view(crowd, page, "attempts?q=user%3Az")
    page.get_by_role("button", name="Open the request").first.click()
    page.get_by_text("The same request as curl").click()
    request = page.locator("dialog pre").first
    expect(request).to_contain_text('"messages":["Oi <b>"],"processed_at":')
    expect(request).to_contain_text("webhook-id: b")


def test_the_window_stretches_at_each_message(crowd: Dev, page: Page) -> None:
    open_user(crowd, page, "somebody.new")
    expect(page.locator(".now-why")).to_have_text("Nothing waits.")
    dots = page.locator(".picture .dot")
    ends = []
    for number in range(1, 4):
        post(crowd, {"user": "somebody.new", "message": "Oi", "ttl": 500 * number})
        expect(dots).to_have_count(number)
        ends.append(end_s(page))
    assert ends == sorted(ends)
    assert ends[2] - ends[0] > 500
    expect(page.locator(".picture .window.open")).to_be_visible()
    dots.first.click()
    expect(page.locator(".chosen pre")).to_contain_text('"message_id"')


def test_the_window_begins_with_its_first_message_and_not_with_the_page(
    crowd: Dev, page: Page
) -> None:
    open_view(crowd, page, "doctor")
    begins = page.evaluate(
        """async () => {
          const main = document.querySelector("script[type=module]").src;
          const { Past } = await import(new URL("past.js", main));
          const past = new Past();
          const now = Date.parse("2026-01-01T12:00:00Z");
          const view = {
            state: "collecting", pending: 2, fires_in: 30, held_for: null, batch: null, recent: [],
            waiting_since: "2026-01-01T11:59:00Z",
          };
          past.view(view, now);
          return now - past.story(now).windows[0].from;
        }"""
    )
    assert begins == 60_000


def test_what_is_opened_on_a_phone_is_no_wider_than_the_phone(crowd: Dev, browser: Browser) -> None:
    with fresh_page(browser, viewport={"width": 360, "height": 740}) as page:
        open_user(crowd, page, NAMES[1])
        page.locator(".picture .attempt").first.click()
        page.get_by_role("button", name="Show the texts").click()
        page.get_by_text("As JSON").first.click()
        expect(page.locator(".texts pre")).to_be_visible()
        assert overflow(page) == 0
        page.get_by_text("What the receiver said").first.click()
        assert overflow(page) == 0


def test_a_verb_for_a_user_whom_a_browser_cannot_name_reaches_nobody(
    crowd: Dev, page: Page
) -> None:
    """`users/./hold` is `users/hold` for a browser, which holds everybody who waits."""
    post(crowd, {"user": ".", "message": "Oi", "ttl": 900})
    open_view(crowd, page, "waiting?q=user%3A.")
    row = page.locator(".row", has=page.get_by_role("link", name=".", exact=True))
    asked: list[str] = []
    page.on("request", lambda request: asked.append(f"{request.method} {request.url}"))
    row.get_by_role("button", name="Hold").click()
    expect(page.locator("body")).to_contain_text("A browser cannot ask for a user who is called")
    assert [each for each in asked if not each.startswith("GET")] == []


def test_hold_release_and_drop_do_what_they_say(crowd: Dev, page: Page) -> None:
    post(crowd, {"user": "to.drop", "message": "Oi", "ttl": 900})
    open_user(crowd, page, "to.drop")
    page.get_by_role("button", name="Hold: to.drop").click()
    page.locator("dialog[open]").get_by_role("button", name="Hold").click()
    expect(page.locator(".now-why")).to_contain_text("on hold")
    page.get_by_role("button", name="Release: to.drop").click()
    expect(page.locator(".now-why")).to_contain_text("Waits until")
    page.get_by_role("button", name="Drop: to.drop").click()
    page.locator("dialog[open]").get_by_role("button", name="Cancel").click()
    expect(page.locator(".now-why")).to_contain_text("Waits until")
    page.get_by_role("button", name="Drop: to.drop").click()
    page.locator("dialog[open]").get_by_role("button", name="Drop").click()
    expect(page.locator(".now-why")).to_have_text("Nothing waits.")


def test_the_keyboard_reaches_the_filter_the_rows_and_the_pages(crowd: Dev, page: Page) -> None:
    open_view(crowd, page, "waiting")
    expect(page.locator(".rows > .row")).to_have_count(50)
    page.keyboard.press("j")
    page.keyboard.press("j")
    expect(page.locator(".rows .row-link").nth(1)).to_be_focused()
    page.keyboard.press("k")
    expect(page.locator(".rows .row-link").first).to_be_focused()
    page.keyboard.press("/")
    expect(page.locator("#filter")).to_be_focused()
    page.keyboard.type("nonsense:x")
    page.keyboard.press("Enter")
    expect(page.locator("#filter-says")).to_contain_text("“nonsense:x” means nothing here")
    page.locator("h1").click()
    page.keyboard.press("?")
    expect(page.locator("dialog[open] h2")).to_have_text("Keys")
    page.keyboard.press("Escape")
    expect(page.locator("dialog[open]")).to_have_count(0)
    page.evaluate(G_AND_C)
    expect(page.locator("h1")).to_have_text("Cluster")


def test_language_time_and_colours_are_remembered(crowd: Dev, browser: Browser) -> None:
    with fresh_page(browser, locale="pt-BR") as page:
        open_view(crowd, page, "waiting")
        expect(page.locator("h1")).to_have_text("Em espera")
        page.locator("#switch-language").click()
        expect(page.locator("h1")).to_have_text("Waiting")
        page.locator("#switch-time").click()
        page.locator("#switch-theme").click()
        page.reload()
        expect(page.locator("h1")).to_have_text("Waiting")
        expect(page.locator("#switch-time")).to_have_text("local")
        expect(page.locator("html")).to_have_attribute("data-theme", "light")


def test_a_server_that_dies_is_said_and_one_that_comes_back_too(page: Page, own_dev: Dev) -> None:
    open_view(own_dev, page, "waiting")
    own_dev.kill()
    expect(page.locator("#trouble")).to_contain_text("does not answer")
    own_dev.start()
    expect(page.locator("#trouble")).to_be_hidden()
    expect(page.locator("#link")).to_have_attribute("data-state", "up")


# The page as an operator uses it


def open_view(dev: Dev, page: Page, view: str) -> None:
    page.goto("about:blank")
    page.goto(f"{dev.url}operate#/{view}")
    expect(page.locator("#link")).to_have_attribute("data-state", "up")


def open_user(dev: Dev, page: Page, name: str) -> None:
    page.goto("about:blank")
    page.goto(f"{dev.url}operate")
    page.evaluate("user => { location.hash = '#/user?' + new URLSearchParams({user}) }", name)
    expect(page.locator("#link")).to_have_attribute("data-state", "up")
    expect(page.locator("h1")).to_have_text(name)


def tile(page: Page, name: str) -> Locator:
    return page.locator(f'[data-tile="{name}"] .tile-number')


def mode(dev: Dev, name: str) -> None:
    request = urllib.request.Request(
        f"{dev.url}dev/inbox/mode",
        json.dumps({"mode": name}).encode(),
        {"content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=ANSWER_S):
        pass


def end_s(page: Page) -> float:
    """When the open window ends, as the picture draws it."""
    to = page.locator(".picture .window.open").get_attribute("data-to")
    assert to is not None
    return int(to) / 1000
