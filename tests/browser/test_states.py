"""The operator's view in every state that it meets: nobody, thousands, Redis away, signed out, a
key that only looks, a slow network, a request that fails, and what people write."""

from __future__ import annotations

import json
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Request, Route, expect

from tests.browser.conftest import ANSWER_S, Dev, fresh_page, running_dev
from tests.browser.test_operate import mode, open_user, open_view, tile
from tests.browser.test_playground import post
from tests.servers import running, valkey_binary

pytestmark = [pytest.mark.browser, pytest.mark.process]

MANY = 10_000
KEPT = ("--appendonly", "yes", "--appendfsync", "always")
BAIT = "<img src=x onerror=alert(1)>"
EMPTY = {
    "waiting": "Nobody waits. Every message has been delivered.",
    "dead": "No dead letters.",
    "cluster": "None: every shard stays where it is.",
}


# Nobody, and thousands


@pytest.mark.parametrize("view", EMPTY)
def test_a_page_with_nothing_on_it_says_that_all_is_well(dev: Dev, page: Page, view: str) -> None:
    open_view(dev, page, view)
    expect(page.locator("#view .hollow:visible", has_text=EMPTY[view])).to_be_visible()


def test_ten_thousand_who_wait_cost_the_page_no_more_than_fifty(dev: Dev, page: Page) -> None:
    post_many(dev, ({"user": f"u{n}", "message": "Oi", "ttl": 3_000} for n in range(MANY)))
    asked: Counter[str] = Counter()
    heard: list[int] = []
    page.on("request", lambda request: asked.update([path_of(request)]))
    page.on("response", lambda answer: heard.append(int(answer.headers.get("content-length", 0))))
    open_view(dev, page, "waiting")
    expect(page.locator(".rows > .row")).to_have_count(50)
    expect(tile(page, "waiting")).to_have_text("10,000")
    assert page.evaluate("document.querySelectorAll('*').length") < 1_500
    assert max(heard) < 150_000

    # Two thousand things that happen are no two thousand requests, and no more rows.
    asked.clear()
    begun = time.monotonic()
    with page.expect_response(lambda answer: "api/users?" in answer.url):
        post_many(dev, ({"user": f"u{n}", "message": "Oi", "ttl": 3_000} for n in range(2_000)))
    expect(page.locator(".rows > .row")).to_have_count(50)
    assert sum(asked.values()) < 40 + 10 * (time.monotonic() - begun)


# Redis away, the network, one request that fails


def test_redis_away_is_said_within_seconds_and_its_return_too(
    browser: Browser, tmp_path: Path
) -> None:
    with (
        tempfile.TemporaryDirectory(prefix="aq-", ignore_cleanup_errors=True) as directory,
        running(valkey_binary(), "valkey", Path(directory), *KEPT) as valkey,
        running_dev(tmp_path, "--redis-url", valkey.url) as dev,
        fresh_page(browser) as page,
    ):
        post(dev, {"user": "ana", "message": "Oi", "ttl": 3_000})
        open_view(dev, page, "waiting")
        expect(page.locator(".rows > .row")).to_have_count(1)
        valkey.kill()
        expect(page.locator("#link")).to_have_attribute("data-state", "degraded")
        expect(page.locator("#trouble")).to_contain_text("accepts no messages now")
        expect(page.locator("#view .card .fault").first).to_be_visible()
        with running(valkey_binary(), "valkey", Path(directory), *KEPT):
            expect(page.locator("#link")).to_have_attribute("data-state", "up")
            expect(page.locator("#view .fault:visible")).to_have_count(0)
            expect(page.locator(".rows > .row")).to_have_count(1)


def test_a_panel_that_cannot_be_filled_says_why_and_the_others_go_on(
    shared_dev: Dev, page: Page
) -> None:
    page.route("**/metrics", lambda route: route.fulfill(status=404, body="{}"))
    page.route("**/api/doctor", lambda route: route.fulfill(status=404, body="{}"))
    open_view(shared_dev, page, "cluster")
    expect(page.locator(".fault:visible")).to_have_text(
        "This release of the server does not tell this."
    )
    expect(page.locator(".shard-map .shard")).to_have_count(64)
    open_view(shared_dev, page, "doctor")
    expect(page.locator(".fault:visible")).to_have_text(
        "This release of the server does not tell this."
    )

    # A path that is there and has not found what it was asked for says so in its own words.
    page.unroute("**/api/doctor")
    gone = json.dumps({"detail": "it was here a minute ago"})
    page.route("**/api/doctor", lambda route: route.fulfill(status=404, body=gone))
    page.reload()
    expect(page.locator(".fault:visible")).to_have_text("it was here a minute ago")


def test_on_a_slow_network_no_request_overtakes_another_and_the_list_comes(
    shared_dev: Dev, page: Page
) -> None:
    under_way: Counter[str] = Counter()
    most: Counter[str] = Counter()

    def slowly(route: Route) -> None:
        path = path_of(route.request)
        under_way[path] += 1
        most[path] = max(most[path], under_way[path])
        page.wait_for_timeout(400)
        answer = route.fetch()
        under_way[path] -= 1  # the page may ask again as soon as it has this answer
        route.fulfill(response=answer)

    post(shared_dev, {"user": "slow", "message": "Oi", "ttl": 900})
    page.route("**/api/users?limit*", slowly)
    open_view(shared_dev, page, "waiting")
    for number in range(3):
        post(shared_dev, {"user": f"slow.{number}", "message": "Oi", "ttl": 900})
    expect(page.get_by_role("link", name="slow.2", exact=True)).to_be_visible()
    assert most["/api/users"] == 1


# Keys


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    keys = "admin:k-admin:ana,read:k-look:bia"
    with running_dev(tmp_path_factory.mktemp("locked"), "--api-keys", keys) as dev:
        post(dev, {"user": "caio", "message": "segredo", "ttl": 900}, key="k-admin")
        yield dev


def test_signed_out_the_page_shows_nothing_and_a_wrong_key_is_said(locked: Dev, page: Page) -> None:
    page.goto(f"{locked.url}operate")
    expect(page.locator("#key-dialog")).to_be_visible()
    page.locator("#key").fill("k-wrong")
    page.locator("#key").press("Enter")
    expect(page.locator("#key-text")).to_contain_text("did not take that key")
    expect(page.locator(".rows > .row")).to_have_count(0)


def test_a_read_key_sees_who_waits_and_has_no_button_to_press(locked: Dev, page: Page) -> None:
    sign_in(locked, page, "k-look")
    expect(page.locator("#look-only")).to_be_visible()
    expect(page.locator(".row .row-link")).to_have_text("caio")
    expect(page.locator("[data-acts]").first).to_be_disabled()
    expect(page.locator("[data-acts]:enabled")).to_have_count(0)
    page.locator(".row-link").click()
    expect(page.get_by_role("button", name="Show the texts")).to_be_disabled()
    expect(page.locator("[data-acts]:enabled")).to_have_count(0)


def test_an_admin_acts_and_texts_are_masked_until_asked_for_and_the_asking_is_logged(
    locked: Dev, page: Page
) -> None:
    sign_in(locked, page, "k-admin")
    expect(page.locator("#who")).to_contain_text("ana")
    page.locator(".row-link").click()
    expect(page.locator(".now-why")).to_contain_text("Waits until")
    assert "segredo" not in page.content()
    page.get_by_role("button", name="Show the texts").click()
    expect(page.locator(".texts .text")).to_have_text("segredo")
    expect(page.locator(".picture .dot")).to_have_count(1)
    page.get_by_role("button", name="Mask them again").click()
    expect(page.locator(".texts .text")).to_have_count(0)
    log = (locked.directory / "dev.log").read_text()
    assert "texts_shown" in log
    assert "segredo" not in log


def test_what_is_done_by_hand_is_shown_with_who_did_it_and_why(locked: Dev, page: Page) -> None:
    sign_in(locked, page, "k-admin")
    page.locator(".row-link").click()
    page.get_by_role("button", name="Hold: caio").click()
    dialog = page.locator("dialog[open]")
    dialog.get_by_label("Minutes").fill("5")
    dialog.get_by_label("Why").fill("a human took over")
    dialog.get_by_role("button", name="Hold").click()
    deeds = page.locator(".panel", has=page.get_by_role("heading", name="Done by hand"))
    for words in ("put on hold", "5 min", "ana", "a human took over"):
        expect(deeds).to_contain_text(words)
    expect(page.locator(".picture .hold")).to_have_count(1)
    expect(page.locator(".picture .deed")).to_have_count(1)
    page.get_by_role("button", name="Release: caio").click()
    expect(deeds).to_contain_text("released")


def test_a_session_outlives_the_page_holds_no_key_in_it_and_ends_by_signing_out(
    locked: Dev, page: Page
) -> None:
    sign_in(locked, page, "k-admin")
    page.reload()
    expect(page.locator(".rows > .row")).to_have_count(1)
    assert (
        page.evaluate(
            "[...Object.values(sessionStorage), ...Object.values(localStorage)]"
            ".some(value => value.includes('k-admin'))"
        )
        is False
    )
    page.get_by_role("button", name="Sign out").click()
    expect(page.locator("#key-dialog")).to_be_visible()


def test_a_session_that_ended_elsewhere_is_said_to_be_over_and_goes_on_where_it_was(
    locked: Dev, page: Page
) -> None:
    sign_in(locked, page, "k-admin")
    page.goto(f"{locked.url}operate#/doctor")
    expect(page.locator(".findings li").first).to_be_visible()
    other = page.context.new_page()
    other.goto(f"{locked.url}operate")
    with other.expect_response(lambda answer: answer.request.method == "DELETE"):
        other.get_by_role("button", name="Sign out").click()
    expect(page.locator("#key-text")).to_contain_text("Your session is over")
    expect(page.locator("#link-text")).to_have_text("Signed out")
    expect(page.locator("#trouble")).to_be_hidden()
    page.locator("#key").fill("k-admin")
    page.locator("#key").press("Enter")
    expect(page.locator("#link-text")).to_have_text("Live")
    expect(page.locator("h1")).to_have_text("Doctor")


# What people write


def test_a_message_of_200_kb_is_shown_in_part_and_whole_when_asked(
    shared_dev: Dev, page: Page
) -> None:
    post(shared_dev, {"user": "tudo", "message": "x" * 200_000, "ttl": 900})
    open_user(shared_dev, page, "tudo")
    page.get_by_role("button", name="Show the texts").click()
    text = page.locator(".texts .text")
    expect(text).to_contain_text("199,600 more characters")
    assert len(text.text_content() or "") < 500
    text.get_by_role("button").click()
    assert len(text.text_content() or "") == 200_000


def test_what_looks_like_markup_stays_text_wherever_it_is_shown(hasty_dev: Dev, page: Page) -> None:
    mode(hasty_dev, "fail")
    post(hasty_dev, {"user": BAIT, "message": BAIT, "ttl": 0})
    open_view(hasty_dev, page, "dead")
    expect(page.locator(".rows .row-link")).to_have_text(BAIT)
    page.get_by_role("button", name="Show the texts").click()
    expect(page.locator("dialog .text")).to_have_text(BAIT)
    open_user(hasty_dev, page, BAIT)
    expect(page.locator(".picture .attempt")).to_have_count(2)
    assert page.locator("img[src=x]").count() == 0


def test_dead_letters_are_grouped_by_why_and_where_and_a_group_is_replayed_at_a_pace(
    hasty_dev: Dev, page: Page
) -> None:
    mode(hasty_dev, "fail")
    for number in range(3):
        post(hasty_dev, {"user": f"d{number}", "message": "Oi", "ttl": 0})
    open_view(hasty_dev, page, "dead")
    group = page.locator(".groups .tile")
    expect(group.locator(".tile-number")).to_have_text("3")
    for words in ("answered 500", "default", "3 messages"):
        expect(group).to_contain_text(words)
    mode(hasty_dev, "ok")
    group.get_by_role("button", name="Replay: default, answered 500").click()
    dialog = page.locator("dialog[open]")
    expect(dialog.locator("h2")).to_have_text("Replay 3 dead letters?")
    dialog.get_by_label("Letters a second").fill("2")
    with page.expect_request(lambda asked: asked.method == "POST") as begun:
        dialog.get_by_role("button", name="Replay").click()
    assert begun.value.post_data_json == {
        "route": "default",
        "reason": "answered 500",
        "status": "500",
        "per_second": 2,
    }
    expect(page.locator("#view .hollow:visible", has_text="No dead letters.")).to_be_visible()


def test_attempts_are_listed_filtered_and_the_request_of_a_dead_letter_opened(
    hasty_dev: Dev, page: Page
) -> None:
    mode(hasty_dev, "fail")
    post(hasty_dev, {"user": "tentou.ana", "message": "Oi", "ttl": 0})
    post(hasty_dev, {"user": "tentou.bia", "message": "Oi", "ttl": 0})
    open_view(hasty_dev, page, "attempts?q=user%3Atentou")
    expect(page.locator(".attempts > .row")).to_have_count(4)
    expect(page.get_by_role("button", name="Open the request")).to_have_count(4)
    page.locator("#filter").fill("user:tentou.a since:10m outcome:dead status:500")
    page.locator("#filter").press("Enter")
    expect(page.locator(".attempts > .row")).to_have_count(1)
    expect(page.locator(".attempts .row-link")).to_have_text("tentou.ana")
    page.get_by_role("button", name="Open the request").click()
    page.get_by_text("The same request as curl").click()
    expect(page.locator("dialog pre").first).to_contain_text('"messages":["Oi"]')
    page.keyboard.press("Escape")
    page.locator(".row-id a").click()  # the batch's id leads to all that is known of it
    expect(page.locator(".found .chip").first).to_have_text("dead letter")
    expect(page.locator(".found .row")).to_have_count(2)


def test_doctor_shows_what_the_command_finds_the_gravest_first(shared_dev: Dev, page: Page) -> None:
    open_view(shared_dev, page, "doctor")
    first = page.locator(".findings li").first
    expect(first).to_contain_text("webhooks are not signed")
    expect(page.locator(".findings li", has_text="maxmemory-policy")).to_contain_text("well")

    # In Portuguese no finding of a service that is well stays in English.
    page.locator("#switch-language").click()
    expect(page.locator(".findings li").first).to_contain_text("os webhooks não são assinados")
    expect(page.locator(".findings [lang=en]")).to_have_count(0)


def test_lateness_is_plotted_within_the_pages_policy(shared_dev: Dev, page: Page) -> None:
    """`fresh_page` fails where a script or a style of uPlot breaks the policy."""
    open_view(shared_dev, page, "cluster")
    post(shared_dev, {"user": "late", "message": "Oi", "ttl": 0})
    plot = page.get_by_role("img", name="How late batches were closed")
    expect(plot.locator("canvas")).to_have_count(1)
    page.wait_for_function("document.querySelector('.plot canvas').width > 200")


def test_a_user_is_erased_only_when_the_name_was_typed(shared_dev: Dev, page: Page) -> None:
    post(shared_dev, {"user": "esquecer", "message": "Oi", "ttl": 900})
    open_user(shared_dev, page, "esquecer")
    dialog = page.locator("dialog[open]")
    for typed in ("esquece", "esquecer"):
        expect(page.locator(".now-why")).to_contain_text("Waits until")
        page.get_by_role("button", name="Erase everything").click()
        dialog.locator("input").fill(typed)
        dialog.get_by_role("button", name="Erase everything").click()
    expect(page.locator("#said")).to_have_text("esquecer: everything erased.")
    expect(page.locator(".now-why")).to_have_text("Nothing waits.")


def test_a_filter_finds_who_waits_far_down_a_long_list(dev: Dev, page: Page) -> None:
    post_many(dev, ({"user": f"u{n}", "message": "Oi", "ttl": 900 + n} for n in range(3_000)))
    post(dev, {"user": "zora", "message": "Oi", "ttl": 80_000})
    open_view(dev, page, "waiting?q=user%3Azo")
    expect(page.locator(".rows .row-link")).to_have_text("zora")


def test_dead_letters_leave_as_a_file_and_their_messages_come_back_once(
    hasty_dev: Dev, page: Page, tmp_path: Path
) -> None:
    number = 12_345_678_901_234_567_890  # as JSON has it; the browser's own numbers lose digits
    mode(hasty_dev, "fail")
    post(hasty_dev, {"user": "volta", "message": "Oi", "ttl": 0, "id_agente": number})
    open_view(hasty_dev, page, "dead")
    expect(page.locator(".rows .row-link")).to_have_text("volta")
    with page.expect_download() as download:
        page.get_by_role("button", name="Export as NDJSON").click()
    file = tmp_path / "letters.ndjson"
    download.value.save_as(file)
    [letter] = [json.loads(line) for line in file.read_text().splitlines()]
    assert letter["batch"]["messages"] == ["Oi"]
    assert letter["batch"]["id_agente"] == number

    mode(hasty_dev, "ok")
    for _ in range(2):
        page.locator('input[type="file"]').set_input_files(file)
        with page.expect_request("**/api/messages") as sent:
            page.locator("dialog[open]").get_by_role("button", name="Import a file").click()
        assert str(number) in (sent.value.post_data or "")
        expect(page.locator("#said")).to_contain_text("1 of 1 messages were accepted")
    open_user(hasty_dev, page, "volta")
    expect(page.locator(".now-head")).to_contain_text("1 message")


def test_an_export_that_was_stopped_says_that_letters_are_missing_and_goes_on_there(
    dev: Dev, page: Page
) -> None:
    endless = json.dumps({"dead": [], "cursor": "more"})
    slow: list[Route] = []

    def answer(route: Route) -> None:
        if "cursor=" in route.request.url:
            slow.append(route)
        else:
            route.fulfill(status=200, body=endless)

    open_view(dev, page, "dead")
    expect(page.get_by_text(EMPTY["dead"])).to_be_visible()
    page.route("**/api/dead?*", answer)
    with page.expect_request("**/api/dead?*cursor=*"):
        page.get_by_role("button", name="Export as NDJSON").click()
    page.get_by_role("button", name="Stop").click()
    with page.expect_download():
        slow[0].fulfill(status=200, body=endless)
    expect(page.locator("#said")).to_contain_text("Only 0 letters are in the file")
    with page.expect_download() as rest, page.expect_request("**/api/dead?*cursor=more*"):
        page.get_by_role("button", name="Export part 2").click()
        while len(slow) < 2:
            page.wait_for_timeout(20)
        slow[1].fulfill(status=200, body=json.dumps({"dead": [], "cursor": None}))
    assert rest.value.suggested_filename.endswith("-part-2.ndjson")
    expect(page.get_by_role("button", name="Export part")).to_have_count(0)
    page.unroute_all(behavior="ignoreErrors")


def test_a_page_whose_stream_was_put_out_waits_as_long_as_it_was_told(
    shared_dev: Dev, page: Page
) -> None:
    opened: list[str] = []

    def put_out(route: Route) -> None:
        opened.append(route.request.url)
        text = "retry: 30000\n: put out, because too many listen\n\n"
        route.fulfill(status=200, body=text, content_type="text/event-stream")

    page.route("**/api/events", put_out)
    page.clock.install()
    open_view(shared_dev, page, "doctor")
    expect(page.locator("#link-text")).to_have_text("No live events")
    for _ in range(2):
        with page.expect_response("**/readyz"):  # it still hears whether the service answers
            page.clock.fast_forward(10_000)
    assert len(opened) == 1
    with page.expect_response("**/api/events"):
        page.clock.fast_forward(20_000)


@pytest.mark.parametrize("width", [360, 1400])
def test_going_from_page_to_page_leaves_nothing_behind(
    shared_dev: Dev, browser: Browser, width: int
) -> None:
    """`fresh_page` fails for anything that a page raised while it was closed."""
    with fresh_page(browser, viewport={"width": width, "height": 800}) as page:
        for view in ("waiting", "user?user=x", "attempts", "dead", "cluster", "doctor", "waiting"):
            page.goto(f"{shared_dev.url}operate#/{view}")
            expect(page.locator("#view h1")).to_be_visible()
        expect(page.locator("#link")).to_have_attribute("data-state", "up")


# Tools


def sign_in(dev: Dev, page: Page, key: str) -> None:
    page.goto(f"{dev.url}operate")
    page.locator("#key").fill(key)
    page.locator("#key").press("Enter")
    expect(page.locator("#link")).to_have_attribute("data-state", "up")
    expect(page.locator(".rows > .row")).to_have_count(1)


def path_of(request: Request) -> str:
    return "/" + request.url.split("/", 3)[3].partition("?")[0]


def post_many(dev: Dev, messages: Iterator[dict[str, object]]) -> None:
    body = "\n".join(json.dumps(message) for message in messages).encode()
    headers = {"content-type": "application/x-ndjson"}
    request = urllib.request.Request(f"{dev.url}api/messages", body, headers)
    with urllib.request.urlopen(request, timeout=ANSWER_S) as response:
        assert response.status == 200
        response.read()
