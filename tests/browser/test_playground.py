"""The playground page, driven by a real browser against a real `actor-queue dev`."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests.browser.conftest import ANSWER_S, Dev, fresh_page, running_dev

pytestmark = [pytest.mark.browser, pytest.mark.process]

THREE = ["Oi", "tudo bem?", "queria saber do meu pedido <b>4482</b>"]

# Collects in the page what the dial shows, so that no reading is missed between two looks at it.
READINGS = """() => {
  const dial = document.getElementById("seconds");
  window.readings = [];
  const note = () => {
    const seconds = parseFloat(dial.textContent);
    if (Number.isFinite(seconds)) window.readings.push(seconds);
  };
  new MutationObserver(note).observe(dial, {childList: true, characterData: true, subtree: true});
}"""
RAN_DOWN = "() => window.readings.length > 1 && window.readings.at(-1) < window.readings.at(-2)"
ROSE = "times => window.readings.filter((s, at, all) => s > all[at - 1]).length === times"


def test_three_messages_reset_the_wait_and_arrive_as_one_webhook_in_order(
    dev: Dev, page: Page, tmp_path: Path
) -> None:
    open_playground(dev, page, ttl="60")
    page.evaluate(READINGS)
    for resets, text in enumerate(THREE):
        write(page, text)
        page.wait_for_function(ROSE, arg=resets)
        page.wait_for_function(RAN_DOWN)
    expect(page.locator("#timer-title")).to_have_text("3 messages waiting")
    expect(page.locator("#timer-text")).to_contain_text("began again twice")

    page.locator("#flush").click()
    card = page.locator(".webhook")
    expect(card.locator(".texts li")).to_have_count(3)
    expect(card).to_have_count(1)
    expect(card.locator(".texts li > span:last-child")).to_have_text(THREE)
    expect(page.locator("#announce")).to_contain_text("3 messages")
    expect(page.locator("#log .bubble[data-state=delivered]")).to_have_count(3)
    expect(page.locator("#timer")).to_have_attribute("data-state", "idle")
    page.screenshot(path=tmp_path / "delivered.png", full_page=True)

    [webhook] = inbox(dev)["webhooks"]
    assert webhook["body"]["messages"] == THREE
    assert card.get_attribute("data-id") == webhook["headers"]["webhook-id"]


def test_a_message_leaves_by_itself_when_its_wait_is_over(shared_dev: Dev, page: Page) -> None:
    open_playground(shared_dev, page, ttl="0.3")
    write(page, "sozinha")
    card = page.locator(".webhook", has_text="sozinha")
    expect(card.locator(".chips")).to_contain_text("reason: quiet")


def test_a_failing_receiver_gets_the_same_webhook_again_until_it_takes_it(
    dev: Dev, page: Page, tmp_path: Path
) -> None:
    open_playground(dev, page, ttl="0.3")
    choose_mode(page, "fails")
    write(page, THREE[0])
    pending = page.locator(".webhook.pending")
    expect(pending).to_contain_text("500")
    failed_id = pending.get_attribute("data-id")
    page.screenshot(path=tmp_path / "failing.png", full_page=True)

    choose_mode(page, "answers")
    expect(pending).to_have_count(0)
    expect(page.locator(".webhook")).to_have_attribute("data-id", str(failed_id))
    expect(page.locator(".webhook .chips")).to_contain_text("attempt")


def test_an_old_answer_of_the_inbox_does_not_undo_the_mode_that_was_chosen(
    shared_dev: Dev, page: Page
) -> None:
    open_playground(shared_dev, page, ttl="0")
    write(page, "antes")
    card = page.locator(".webhook", has_text="antes")
    expect(card).to_have_count(1)

    held: list[Route] = []
    page.route("**/dev/inbox", lambda route: held.append(route), times=1)
    page.reload()
    expect(page.locator("#mode")).to_be_visible()
    [asked] = held
    old = asked.fetch()
    choose_mode(page, "fails")
    asked.fulfill(response=old)
    expect(card).to_have_count(1)
    expect(page.locator("#mode").get_by_label("fails")).to_be_checked()
    choose_mode(page, "answers")


def test_a_held_user_is_sent_nothing_until_released(dev: Dev, page: Page) -> None:
    open_playground(dev, page, ttl="0.2")
    page.locator("#hold").click()
    expect(page.locator("#timer")).to_have_attribute("data-state", "held")
    write(page, THREE[0])
    expect(page.locator("#timer-title")).to_have_text("1 message held back")
    assert inbox(dev)["webhooks"] == []
    page.locator("#hold").click()
    expect(page.locator(".webhook .texts li")).to_have_count(1)


def test_flush_does_not_wait(dev: Dev, page: Page) -> None:
    open_playground(dev, page, ttl="600")
    write(page, THREE[0])
    page.locator("#flush").click()
    expect(page.locator(".webhook .chips")).to_contain_text("flush")


def test_what_was_written_before_and_during_a_kill_arrives_after_the_restart(
    own_dev: Dev, page: Page, tmp_path: Path
) -> None:
    open_playground(own_dev, page, ttl="600")
    write(page, THREE[0])
    expect(page.locator("#log .bubble[data-state=waiting]")).to_have_count(1)
    own_dev.kill()
    expect(page.locator("#link")).to_have_attribute("data-state", "away")
    page.locator("#ttl").fill("0.3")
    write(page, THREE[1])
    expect(page.locator("#log .bubble[data-state=unsent]")).to_have_count(1)
    page.screenshot(path=tmp_path / "away.png")

    own_dev.start()
    expect(page.locator("#link")).to_have_attribute("data-state", "up")
    texts = page.locator(".webhook .texts li > span:last-child")
    expect(texts).to_have_count(2)
    assert sorted(texts.all_text_contents()) == sorted(THREE[:2])


def test_a_message_of_another_sender_shows_its_text_when_its_webhook_arrives(
    shared_dev: Dev, page: Page
) -> None:
    open_playground(shared_dev, page, ttl="0")
    page.locator("#user").fill("somebody.else")
    page.locator("#user").press("Tab")
    post(shared_dev, {"user": "somebody.else", "message": "de outro lugar", "ttl": 600})
    words = page.locator("#log .bubble .words")
    expect(words).to_have_text("A message from another sender")
    page.locator("#flush").click()
    expect(words).to_have_text("de outro lugar")


@pytest.mark.parametrize("platform", ["evolution", "waha", "cloud", "chatwoot", "telegram"])
def test_what_is_shown_goes_to_a_platforms_door_and_comes_out_as_a_batch(
    dev: Dev, page: Page, platform: str
) -> None:
    open_playground(dev, page, ttl="60")
    sent = send_as(page, platform, "text", THREE[2])
    assert page.locator("#door-request pre").text_content() == sent
    expect(page.locator("#door-answer .chips")).to_contain_text("accepted 1")
    expect(page.locator("#log .bubble[data-state=waiting] .words")).to_have_text(THREE[2])
    expect(page.locator("#timer-title")).to_have_text("1 message waiting")
    page.locator("#flush").click()
    expect(page.locator(".webhook .texts li > span:last-child")).to_have_text([THREE[2]])
    expect(page.locator("#log .bubble[data-state=delivered]")).to_have_count(1)
    [webhook] = inbox(dev)["webhooks"]
    assert webhook["body"]["user"] == page.locator("#user").input_value()


def test_whatever_else_a_platform_tells_is_answered_and_shown(
    dev: Dev, page: Page, tmp_path: Path
) -> None:
    open_playground(dev, page, ttl="60")
    page.locator("#user").fill("evolution.tells")
    page.locator("#user").press("Tab")
    choose_event(page, "evolution", "revoke")
    page.locator("#door-send").click()
    expect(page.locator("#trouble")).to_contain_text("send one first")

    answer = page.locator("#door-answer .chips")
    told = {"image": "accepted 1", "typing": "typing 1", "own": "held 1", "edit": "edited 1"}
    for event, came in told.items():
        send_as(page, "evolution", event, f"texto de {event}")
        expect(answer).to_contain_text(came)
    expect(page.locator("#log .bubble .words")).to_have_text("texto de edit")
    expect(page.locator("#timer")).to_have_attribute("data-state", "held")
    page.screenshot(path=tmp_path / "doors.png", full_page=True)
    send_as(page, "evolution", "revoke", "")
    expect(answer).to_contain_text("edited 1")
    expect(page.locator("#log .bubble")).to_have_attribute("data-state", "revoked")
    expect(page.locator("#timer-title")).not_to_contain_text("1 message")


def test_a_platform_offers_only_what_it_tells(shared_dev: Dev, page: Page) -> None:
    open_playground(shared_dev, page, ttl="60")
    page.locator("#platform").select_option("telegram")
    offered = page.locator("#door-event option").evaluate_all("all => all.map(each => each.value)")
    assert offered == ["text", "image", "edit"]
    expect(page.locator("#door-send")).to_have_text("Send as Telegram")


def test_a_server_with_keys_asks_for_one_and_keeps_it_for_this_tab(
    browser: Browser, tmp_path: Path
) -> None:
    with running_dev(tmp_path, "--api-keys", "admin:k-right") as dev, fresh_page(browser) as page:
        page.goto(dev.url)
        page.locator("#key").fill("k-wrong")
        page.locator("#key").press("Enter")
        expect(page.locator("#key-text")).to_contain_text("did not take that key")
        page.locator("#key").fill("k-right")
        page.locator("#key").press("Enter")
        expect(page.locator("#link")).to_have_attribute("data-state", "up")
        page.locator("#ttl").fill("0")
        write(page, THREE[0])
        expect(page.locator(".webhook .texts li")).to_have_count(1)
        page.reload()
        expect(page.locator("#link")).to_have_attribute("data-state", "up")
        expect(page.locator("#key-dialog")).to_be_hidden()


def test_a_key_that_only_looks_finds_nothing_to_press(browser: Browser, tmp_path: Path) -> None:
    keys = "admin:k-admin,read:k-look"
    with running_dev(tmp_path, "--api-keys", keys) as dev, fresh_page(browser) as page:
        post(dev, {"user": "joao.silva", "message": "Oi", "ttl": 900}, key="k-admin")
        page.goto(dev.url)
        page.locator("#key").fill("k-look")
        page.locator("#key").press("Enter")
        expect(page.locator("#timer-title")).to_have_text("1 message waiting")
        for button in ("#send", "#door-send", "#flush", "#hold"):
            expect(page.locator(button)).to_be_disabled()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_no_page_is_wider_than_the_screen(
    shared_dev: Dev, browser: Browser, tmp_path: Path, scheme: str, width: int
) -> None:
    screen = {"width": width, "height": 844}
    with fresh_page(browser, viewport=screen, color_scheme=scheme) as page:
        open_playground(shared_dev, page, ttl="0")
        write(page, "palavra" * 60)
        expect(page.locator("#log .bubble[data-state=delivered]")).to_have_count(1)
        page.locator(".webhook summary").first.click()
        send_as(page, "cloud", "text", "palavra" * 60)
        page.locator("#flush").click()
        expect(page.locator("#timer-text")).to_contain_text("1 webhook left for 2000")
        assert overflow(page) == 0
        page.screenshot(path=tmp_path / "playground.png", full_page=True)
        page.goto(f"{shared_dev.url}docs")
        expect(page.locator(".operation").first).to_be_visible()
        assert overflow(page) == 0
        page.screenshot(path=tmp_path / "docs.png")


# The page as a person uses it


def open_playground(dev: Dev, page: Page, *, ttl: str) -> None:
    page.goto(dev.url)
    expect(page.locator("#link")).to_have_attribute("data-state", "up")
    page.locator("#ttl").fill(ttl)


def choose_mode(page: Page, name: str) -> None:
    """Presses what the receiver shall do, which it then does: the service has answered."""
    with page.expect_response("**/dev/inbox/mode"):
        page.locator("#mode label", has_text=name).click()


def write(page: Page, text: str) -> None:
    page.locator("#text").fill(text)
    page.locator("#text").press("Enter")
    expect(page.locator("#log .bubble .words").last).to_have_text(text)


def choose_event(page: Page, platform: str, event: str) -> None:
    page.locator("#platform").select_option(platform)
    page.locator("#door-event").select_option(event)


def send_as(page: Page, platform: str, event: str, text: str) -> str:
    """The body that went to the door."""
    choose_event(page, platform, event)
    page.locator("#text").fill(text)
    with page.expect_request(f"**/in/{platform}") as asked:
        page.locator("#door-send").click()
    body = asked.value.post_data
    assert body is not None
    return body


def overflow(page: Page) -> int:
    """Pixels that the page is wider than what can be seen of it."""
    width = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    return int(page.evaluate(width))


def post(dev: Dev, message: dict[str, Any], key: str | None = None) -> None:
    headers = {"content-type": "application/json"}
    if key is not None:
        headers["authorization"] = f"Bearer {key}"
    body = json.dumps(message).encode()
    request = urllib.request.Request(f"{dev.url}api/message", body, headers)
    with urllib.request.urlopen(request, timeout=ANSWER_S) as response:
        assert response.status == 202


def inbox(dev: Dev) -> Any:
    with urllib.request.urlopen(f"{dev.url}dev/inbox", timeout=ANSWER_S) as response:
        return json.load(response)
