"""How a store can fail. Whoever uses the store reads these names from `store/api.py`."""

from __future__ import annotations


class StoreUnavailable(Exception):
    """The store cannot answer now. `detail` is one sentence without secrets."""

    def __init__(self, detail: str, *, executed: bool | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.executed = executed
        """False: certainly not carried out. None: unknown."""


class StoreMisconfigured(Exception):
    """The store can never serve this service as it is set up; one sentence says what to do."""
