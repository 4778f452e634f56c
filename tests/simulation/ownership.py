"""Who may write: the lease, its epochs, and what an owner knows of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from tests.simulation.history import Executed, Granted, Sent, Stepped
from tests.simulation.story import Story

LAST_WORDS = ("retry", "bury", "divide")
"""Said of attempts that were under way when the lease was given back."""


def fence(story: Story) -> Iterator[str]:
    """Only who holds the lease claims; whoever does not changes nothing."""
    given: defaultdict[int, list[tuple[float, tuple[int, str]]]] = defaultdict(list)
    for e in story.history.of(Executed):
        said = e.reply[0] if isinstance(e.reply, list) and e.reply else e.reply
        if said in (b"fenced", b"gone") and e.wrote:
            yield f"{e.script} of {e.replica} was told {said!r} at {e.at:.3f} and changed something"
        match e.script:
            case "claim" | "claim_replay" | "retry" | "bury" | "divide" | "dead_expire":
                claimed = (int(e.args[1]), e.args[2])
                ours = claimed == e.lease[:2] and e.now_ms < e.lease.until_ms
                known = [who for at, who in given[e.shard] if not story.forgot(at, by=e.at)]
                last = e.script in LAST_WORDS and known[-1:] == [claimed]
                if e.wrote and not ours and not last:
                    yield f"{e.script} of {e.replica} at {e.at:.3f} wrote without the lease"
            case "renew":
                if said == 1 and (int(e.args[1]), e.args[2]) != e.lease[:2]:
                    yield f"{e.replica} renewed {e.lease.owner}'s shard {e.shard} at {e.at:.3f}"
            case "release" if said == 1:
                if (int(e.args[0]), e.args[1]) != e.lease[:2]:
                    yield f"{e.replica} gave back shard {e.shard}, which is {e.lease.owner}'s"
                given[e.shard].append((e.at, (int(e.args[0]), e.args[1])))


def epochs(story: Story) -> Iterator[str]:
    """A live lease is not stolen, a new owner has a new epoch, claims' epochs never go down."""
    highest: dict[int, int] = {}
    claimed: dict[int, int] = {}
    clock_unsure = bool(story.lost) and any(True for _ in story.history.of(Stepped))
    for e in story.history.of(Executed):
        said = e.reply[0] if isinstance(e.reply, list) and e.reply else None
        if e.script == "acquire" and said == b"ok":
            assert isinstance(e.reply, list)
            epoch, ours = e.reply[1], e.lease.nonce == e.args[2]
            if not ours and e.lease.until_ms > e.now_ms:
                yield f"{e.replica} took shard {e.shard} from {e.lease.owner} at {e.at:.3f}"
            if not ours and epoch <= highest.get(e.shard, 0) and not clock_unsure:
                yield f"{e.replica} got shard {e.shard} with the used epoch {epoch}"
            highest[e.shard] = max(epoch, highest.get(e.shard, 0))
        elif e.script.startswith("claim") and said == b"attempt":
            epoch = int(e.args[1])
            if epoch < claimed.get(e.shard, 0) and not story.lost:
                yield f"shard {e.shard} was claimed in with epoch {epoch} after a later one"
            claimed[e.shard] = epoch


def knew_better(story: Story) -> Iterator[str]:
    """Nobody sends a claim with a lease that it gave back, or that it knows to be over."""
    ttl_s = story.plan.settings.lease_ttl_ms / 1000
    until: dict[tuple[str, int, int], float] = {}
    given: dict[tuple[str, int, int], float] = {}
    for record in story.history.records:
        if isinstance(record, Granted):
            lease = (record.replica, record.shard, record.epoch)
            until[lease] = max(until.get(lease, 0.0), record.asked + ttl_s)
            if record.asked > given.get(lease, record.asked):
                del given[lease]
        elif isinstance(record, Sent):
            lease = (record.replica, record.shard, record.epoch)
            if record.script == "release":
                given[lease] = record.at
            elif record.script == "claim":
                if lease in given:
                    yield f"{record.replica} claims at {record.at:.3f} in a shard it gave back"
                if record.at > until.get(lease, 0.0) and not story.plan.has("skew"):
                    yield f"{record.replica} claims at {record.at:.3f} with a lease that was over"
