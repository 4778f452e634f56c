"""The operator's view where there are several routes: a conversation is a user of a route, and what
is pressed, linked or filtered is about that one alone."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.axe import violations
from tests.browser.conftest import ANSWER_S, Dev, fresh_page, running_dev
from tests.browser.test_operate import open_view
from tests.browser.test_playground import overflow, post

pytestmark = [pytest.mark.browser, pytest.mark.process]


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    """A service with the route `vendas` beside the default one, whose receiver is not there."""
    directory = tmp_path_factory.mktemp("two")
    file = directory / "routes.toml"
    file.write_text('[routes.vendas]\nurl = "http://127.0.0.1:9/"\n')
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AQ_CONFIG", str(file))
        with running_dev(directory) as dev:
            yield dev


def test_a_user_on_two_routes_is_two_rows_and_each_button_is_about_its_own(
    two: Dev, page: Page
) -> None:
    write(two, "ana")
    open_view(two, page, "waiting?q=user%3Aana")
    rows = page.locator(".rows > .row")
    expect(rows).to_have_count(2)
    expect(page.locator(".rows .route-name")).to_have_text(["vendas"])
    page.get_by_role("button", name="Hold: ana (vendas)", exact=True).click()
    expect(page.locator("#said")).to_contain_text("ana (vendas)")
    assert states(two, "ana") == {"default": "collecting", "vendas": "held"}


def test_those_that_were_chosen_are_done_with_on_their_own_route(two: Dev, page: Page) -> None:
    write(two, "bia")
    open_view(two, page, "waiting?q=user%3Abia")
    page.get_by_label("Choose bia (vendas)").check()
    expect(page.get_by_label("Choose bia", exact=True)).not_to_be_checked()
    page.get_by_role("button", name="Drop: 1 chosen").click()
    page.locator("dialog[open]").get_by_role("button", name="Drop").click()
    expect(page.locator("#said")).to_have_text("Done for 1 user.")
    assert states(two, "bia") == {"default": "collecting"}


def test_a_row_opens_the_conversation_of_its_route_with_its_texts_verbs_and_deeds(
    two: Dev, page: Page
) -> None:
    write(two, "cara")
    open_view(two, page, "waiting?q=user%3Acara+route%3Avendas")
    expect(page.locator(".rows > .row")).to_have_count(1)
    page.locator(".rows .row-link").click()
    expect(page.locator("h1")).to_have_text("cara")
    expect(page.locator("#view .route-name").first).to_have_text("vendas")
    page.get_by_role("button", name="Show the texts").click()
    expect(page.locator(".texts .text")).to_have_text(["for vendas"])
    page.get_by_role("button", name="Hold: cara (vendas)").click()
    page.locator("dialog[open]").get_by_role("button", name="Hold").click()
    expect(page.locator(".now-why")).to_contain_text("on hold")
    expect(page.get_by_role("region", name="Done by hand")).to_contain_text("put on hold")
    page.get_by_role("button", name="Erase everything").click()
    page.locator("dialog[open] input").fill("cara")
    page.locator("dialog[open]").get_by_role("button", name="Erase everything").click()
    expect(page.locator(".now-why")).to_have_text("Nothing waits.")
    assert states(two, "cara") == {"default": "collecting"}


@pytest.mark.parametrize(
    ("view", "verb"), [("waiting", "Drop: The filter"), ("dead", "Drop all that match")]
)
def test_a_filter_that_is_refused_or_not_yet_entered_disarms_the_verbs_for_all(
    two: Dev, page: Page, view: str, verb: str
) -> None:
    open_view(two, page, f"{view}?q=nonsense%3Ax")
    if view == "waiting":
        page.get_by_role("button", name="All that match …").click()
    expect(page.get_by_role("button", name=verb)).to_be_disabled()
    page.locator("#filter").fill("route:vendas")
    expect(page.get_by_role("button", name=verb)).to_be_disabled()  # another list is shown
    page.locator("#filter").press("Enter")
    expect(page.locator("#filter-says")).not_to_contain_text("means nothing")
    entered = page.get_by_role("button", name=verb.replace("The filter", "All that match"))
    expect(entered.last).to_be_enabled()


def test_the_verbs_for_all_of_a_route_leave_the_other_routes_alone(two: Dev, page: Page) -> None:
    write(two, "duda")
    open_view(two, page, "waiting?q=user%3Aduda+route%3Avendas")
    page.get_by_role("button", name="All that match …").click()
    page.get_by_role("button", name="Drop: All that match the filter").click()
    dialog = page.locator("dialog[open]")
    expect(dialog.locator("h2")).to_have_text("Drop what waits for 1 user?")
    dialog.get_by_role("button", name="Drop").click()
    expect(page.locator("#said")).to_have_text("Done for 1 user.")
    assert states(two, "duda") == {"default": "collecting"}


def test_a_route_is_paused_with_a_reason_and_resumed_on_the_page_of_routes(
    two: Dev, page: Page
) -> None:
    open_view(two, page, "waiting")
    page.locator("#pages").get_by_role("link", name="Routes").click()
    expect(page.locator("tbody th")).to_have_text(["default", "vendas"])
    row = page.locator("tbody tr", has=page.get_by_role("rowheader", name="vendas"))
    expect(page.get_by_role("button", name="Resume: vendas")).to_be_disabled()
    page.get_by_role("button", name="Pause: vendas").click()
    dialog = page.locator("dialog[open]")
    dialog.locator("input").fill("the CRM moves")
    dialog.get_by_role("button", name="Pause").click()
    expect(row).to_contain_text("paused")
    expect(row).to_contain_text("the CRM moves")
    assert route_states(two) == {"default": "closed", "vendas": "paused"}
    expect(page.get_by_role("button", name="Pause: vendas")).to_be_disabled()
    page.get_by_role("button", name="Resume: vendas").click()
    expect(row).to_contain_text("well")
    assert route_states(two) == {"default": "closed", "vendas": "closed"}


def test_a_test_batch_goes_to_the_receiver_of_a_route_and_its_answer_is_shown(
    two: Dev, page: Page
) -> None:
    open_view(two, page, "routes")
    page.get_by_role("button", name="Send a test: default").click()
    page.locator("dialog[open]").get_by_role("button", name="Send a test").click()
    expect(page.locator("#said")).to_contain_text("default: answered 200 after")
    with urllib.request.urlopen(f"{two.url}dev/inbox", timeout=ANSWER_S) as response:
        [received] = json.load(response)["webhooks"]
    assert '"test":true' in json.dumps(received).replace(" ", "").replace("\\", "")
    page.get_by_role("button", name="Send a test: vendas").click()
    page.locator("dialog[open]").get_by_role("button", name="Send a test").click()
    expect(page.locator("#said")).to_contain_text("vendas: connection refused")
    log = (two.directory / "dev.log").read_text()
    assert re.search("test_sent .*route=vendas", log)
    assert "This is a test" not in log


@pytest.mark.parametrize(
    ("scheme", "width", "locale"), [("light", 1400, "en-US"), ("dark", 360, "pt-BR")]
)
def test_the_page_of_routes_keeps_nobody_out_and_is_no_wider_than_its_screen(
    two: Dev, browser: Browser, scheme: str, width: int, locale: str
) -> None:
    look = {"viewport": {"width": width, "height": 800}, "color_scheme": scheme, "locale": locale}
    with fresh_page(browser, **look, reduced_motion="reduce") as page:
        page.goto(f"{two.url}operate#/routes")
        expect(page.locator("tbody tr")).to_have_count(2)
        assert overflow(page) == 0
        assert violations(page) == []


def write(dev: Dev, user: str) -> None:
    """A message that waits, on each of the two routes."""
    post(dev, {"user": user, "message": "for default", "ttl": 900})
    post(dev, {"user": user, "message": "for vendas", "ttl": 900, "route": "vendas"})


def states(dev: Dev, user: str) -> dict[str, str]:
    return {line["route"]: line["state"] for line in read(dev, f"users?user={user}")["users"]}


def route_states(dev: Dev) -> dict[str, str]:
    return {each["route"]: each["state"] for each in read(dev, "routes")["routes"]}


def read(dev: Dev, path: str) -> Any:
    with urllib.request.urlopen(f"{dev.url}api/{path}", timeout=ANSWER_S) as response:
        return json.load(response)
