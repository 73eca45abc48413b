"""A cache from pretokens to their token ids."""

from collections.abc import Callable

MAX_CACHED = 1 << 17
"""Pretokens held in a cache at most; a full cache is emptied and fills again."""

MAX_CACHED_CHARS = 64
"""A longer pretoken is not cached: it is rare, and many of them would fill the memory."""


class PretokenIds(dict[str, tuple[int, ...]]):
    """A cache from a pretoken to its token ids that works out what it lacks.

    It holds at most `MAX_CACHED` pretokens of at most `MAX_CACHED_CHARS` characters. Threads may
    share it: at worst two work out the same pretoken.

    Args:
        work_out: gives the ids of a pretoken.
    """

    def __init__(self, work_out: Callable[[str], tuple[int, ...]]) -> None:
        super().__init__()
        self._work_out = work_out

    def __missing__(self, pretoken: str) -> tuple[int, ...]:
        """Work out the ids of a pretoken, and cache them."""
        ids = self._work_out(pretoken)
        if len(pretoken) <= MAX_CACHED_CHARS:
            if len(self) >= MAX_CACHED:
                self.clear()
            self[pretoken] = ids
        return ids
