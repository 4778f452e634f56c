"""What is said of what people did by hand, and why they say they did it."""

from __future__ import annotations

from typing import Annotated

from actor_queue.http.models.kinds import Model, Moment, Parameters, about, beginning, whole
from actor_queue.store.deeds_api import DEEDS_MAX, REASON_BYTES_MAX, DeedName

Why = Annotated[
    str | None,
    beginning(REASON_BYTES_MAX),
    about(
        "Why, for whoever looks at the user later; kept for 30 days at the most.",
        type=["string", "integer", "null"],
        minLength=0,
    ),
]


class Deed(Model, frozen=True):
    """Something that was done through the API."""

    at: Moment
    deed: DeedName
    by: Annotated[str | None, about("The name of the key; null where no key is asked for.")]
    reason: Annotated[str | None, about("As it was given; only where one user's are listed.")]
    seconds: Annotated[float | None, about("Of a hold: how long at most.")]
    batch_id: Annotated[str | None, about("The dead letter that it was done to.")]
    route: Annotated[str | None, about("The route that was paused or resumed.")]
    logged_as: Annotated[
        str | None,
        about(
            "How the log names the user; only in the list of all, and null there where it was done "
            "to many."
        ),
    ]


class UserDeeds(Model, frozen=True):
    user: str
    route: Annotated[str, about("Whose user it is.")]
    deeds: Annotated[list[Deed], about("Newest first, at most 20, of the last 30 days.")]


class DeedList(Model, frozen=True):
    deeds: Annotated[list[Deed], about("Newest first, at most 1,000, of the last 90 days.")]


class Because(Parameters, frozen=True, kw_only=True):
    reason: Why = None


class ListDeeds(Parameters, frozen=True, kw_only=True):
    limit: Annotated[int, whole(1, DEEDS_MAX), about("How many at most.")] = 100
