"""`doctor` finds the primaries of a cluster and behind sentinels, and judges each of them."""

from __future__ import annotations

from actor_queue.app import doctor
from actor_queue.core.settings import Settings
from tests.redis_topologies import cluster, watched

WAITING = ["users", "dead letters", "retries", "holds"]


def findings(url: str) -> list[doctor.Finding]:
    settings = Settings(redis_url=url, webhook_url="http://127.0.0.1:9/hook")
    return [each for each in doctor.examine(settings) if each.check != "webhook"]


def test_every_primary_of_a_cluster_is_examined() -> None:
    with cluster(primaries=3, replicas=0) as nodes:
        found = findings(nodes.url)
        waiting = [each.check for each in found if each.check in WAITING]
        assert waiting == WAITING, "what waits is said once, for all of them"
        found = [each for each in found if each.check not in WAITING]
        ports = {each.text.split(":")[1] for each in found}
        assert len(ports) == 3
        assert sum(each.check == "eviction" for each in found) == 3
        assert not [
            each.text
            for each in found
            if each.check in ("redis", "scripts", "version") and each.level == "fail"
        ]
        # The key of the namespace lies on one of them, and the others are silent about it.
        assert sum(each.check == "shards" for each in found) == 1


def test_the_primary_behind_sentinels_is_examined_and_a_wrong_name_is_said() -> None:
    with watched(replicas=1, sentinels=3) as group:
        found = findings(group.url)
        assert f":{group.primary.port}: answers" in found[0].text
        assert {"redis", "eviction", "clock", "scripts"} <= {each.check for each in found}
        (wrong,) = findings(group.url_of("nobody"))
        assert wrong.level == "fail"
        assert "correct the name" in wrong.text


def test_seeds_that_do_not_answer_and_options_that_are_wrong_are_said() -> None:
    (away,) = findings("redis+cluster://127.0.0.1:1")
    assert away.level == "fail"
    assert "check that it runs" in away.text
    (odd,) = findings("redis+sentinel://127.0.0.1:1/name?ssl_cert_reqs=none")
    assert "tls=true" in odd.text
