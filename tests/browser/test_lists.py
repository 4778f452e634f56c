"""How the operator's pages ask for their lists: seldom, together, and never for what is too old."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, Request, Route, expect

from tests.browser.conftest import Dev
from tests.browser.test_operate import open_view
from tests.browser.test_playground import post

pytestmark = [pytest.mark.browser, pytest.mark.process]

TTL_S = 3_000
TWO_MINUTES_LEFT = 2_880


def test_a_countdown_counts_from_when_the_list_was_read_and_not_from_when_it_came(
    shared_dev: Dev, page: Page
) -> None:
    def aged(route: Route) -> None:
        answer = route.fetch()
        age = {"answer-age-ms": str(TWO_MINUTES_LEFT * 1000)}
        route.fulfill(response=answer, headers={**answer.headers, **age})

    post(shared_dev, {"user": "idade", "message": "Oi", "ttl": TTL_S})
    page.route("**/api/users?user=idade*", aged)
    open_view(shared_dev, page, "waiting?q=user%3Aidade")
    row = page.locator(".rows > .row", has_text="idade")
    expect(row).to_contain_text(" 1 min ")

    def shared(request: Request) -> bool:
        return "user=idade" in request.url and request.headers.get("cache-control") == "max-age=1"

    with page.expect_request(shared):  # an event is no reason to read the list for this page alone
        post(shared_dev, {"user": "idade", "message": "Oi", "ttl": TTL_S})
    expect(row).to_contain_text("2 messages")
    page.unroute_all(behavior="ignoreErrors")


def test_what_happens_just_before_a_list_is_asked_for_is_loaded_by_the_next(
    shared_dev: Dev, page: Page
) -> None:
    open_view(shared_dev, page, "doctor")
    loaded = page.evaluate(
        """async () => {
          const main = document.querySelector("script[type=module]").src;
          const { Refresher } = await import(new URL("live.js", main));
          const loaded = [];
          return await new Promise((resolve) => {
            const refresher = new Refresher((fresh) => {
              loaded.push(fresh);
              if (loaded.length === 2) resolve(loaded);
            }, 1e9);
            setTimeout(() => resolve(loaded), 20_000);
            refresher.soon();
            refresher.soon();
          });
        }"""
    )
    assert loaded == [False, False]
