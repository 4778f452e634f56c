"""Dead letters, in the oracle."""

from __future__ import annotations

from actor_queue.store.api import DeadLetter
from tests.model.state import Buried, Line, Replay


class Letters:
    """The verbs behind `/api/dead`."""

    buried: dict[str, Buried]

    def line(self, user: str) -> Line:
        raise NotImplementedError

    def dead(self, now_ms: int) -> list[DeadLetter]:
        """Newest first."""
        letters = [buried.letter(whole=False) for buried in self.buried.values()]
        return sorted(letters, key=lambda letter: -letter.died_at_ms)

    def dead_letter(self, now_ms: int, batch_id: str) -> DeadLetter | None:
        buried = self.buried.get(batch_id)
        return buried.letter(whole=True) if buried else None

    def dead_drop(self, now_ms: int, batch_id: str) -> bool:
        buried = self.buried.pop(batch_id, None)
        if buried is None:
            return False
        line = self.line(buried.batch.user)
        line.replays = [replay for replay in line.replays if replay.batch_id != batch_id]
        return True

    def dead_replay(self, now_ms: int, batch_id: str) -> DeadLetter | None:
        buried = self.buried.get(batch_id)
        if buried is None:
            return None
        if not buried.queued:
            buried.queued = True
            self.line(buried.batch.user).replays.append(Replay(batch_id, now_ms))
        return buried.letter(whole=True)
