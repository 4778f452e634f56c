"""What the senders know: every POST, when it was called, when and how it was answered."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Post:
    """One try to have one message accepted. Tries of the same message have the same `text`."""

    user: str
    text: str
    ttl_s: float
    called: float
    returned: float
    status: int | None
    """None: there was no answer."""
    duplicate: bool = False

    @property
    def accepted(self) -> bool:
        return self.status == 202

    @property
    def unknown(self) -> bool:
        """It may have been kept: the service could not say, or nobody heard it."""
        return self.status is None or self.status >= 500


@dataclass
class Journal:
    """All tries of a test. Appending is safe from any thread."""

    posts: list[Post] = field(default_factory=list)

    def add(self, post: Post) -> None:
        self.posts.append(post)

    def accepted_texts(self) -> set[str]:
        return {post.text for post in list(self.posts) if post.accepted}
