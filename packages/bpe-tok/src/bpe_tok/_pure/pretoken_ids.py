"""A cache from pretokens to their token ids."""

from collections.abc import Callable

MAX_CACHED = 1 << 18
"""Pretokens that the newer part of a cache holds at most, and the older part too."""

MAX_CACHED_CHARS = 64
"""A longer pretoken is not cached: it is rare, and many of them would fill the memory."""


class PretokenIds(dict[str, tuple[int, ...]]):
    """A cache from a pretoken to its token ids that works out what it lacks.

    When it is full it becomes the older part, and a new one fills with what is asked for from then
    on, out of the older part where that has it. So it is bounded, and frequent pretokens stay.
    Threads may share it: at worst two work out the same pretoken.

    Args:
        work_out: gives the ids of a pretoken.
    """

    def __init__(self, work_out: Callable[[str], tuple[int, ...]]) -> None:
        super().__init__()
        self._work_out = work_out
        self._older: dict[str, tuple[int, ...]] = {}

    def __missing__(self, pretoken: str) -> tuple[int, ...]:
        """Work out the ids of a pretoken, and cache them."""
        ids = self._older.get(pretoken) or self._work_out(pretoken)
        if len(pretoken) <= MAX_CACHED_CHARS:
            if len(self) >= MAX_CACHED:
                self._older = dict(self)
                self.clear()
            self[pretoken] = ids
        return ids
