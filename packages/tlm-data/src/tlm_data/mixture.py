"""Rows of several sources, mixed by weight."""

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from tlm_data.samples import Batch, Samples, require_range

_MOST_SHARES = 10_000


class Mixture(Samples):
    """Rows of several endless sources, as many of each as its weight says; without end.

    Among the first n rows, for every n, there is less than one row more or less of a source than
    its share of n. The order repeats after as many rows as the shares have parts. Shares are
    whole parts of at most 10,000: weights such as 0.7, 0.2, 0.1 or 3, 1 are kept exactly, others
    are rounded to such shares.

    Args:
        sources: `(samples, weight)` of each source; weights are positive, with any sum. Two
            sources of one text with one seed repeat each other's rows.

    Attributes:
        shares: The share of each source; together 1.

    Raises:
        ValueError: There is no source or the same one twice, a weight is not positive and finite
            or too small beside the others, a source has an end, or context lengths differ.
    """

    def __init__(self, sources: Sequence[tuple[Samples, float]]) -> None:
        self.sources = [samples for samples, _ in sources]
        self.context_length = _common_context_length(self.sources)
        self.has_documents = any(samples.has_documents for samples in self.sources)
        parts = _whole_parts([weight for _, weight in sources])
        self.shares = [Fraction(part, sum(parts)) for part in parts]
        self._order = schedule(parts)
        self._period = len(self._order)
        # How many rows of each source come before each place, (sources, period + 1).
        self._before = np.zeros((len(parts), self._period + 1), np.int64)
        for number, before in enumerate(self._before):
            np.cumsum(self._order == number, out=before[1:])

    def settings(self) -> dict[str, Any]:
        """Return what the rows depend on."""
        return {
            "samples": "mixture",
            "shares": [str(share) for share in self.shares],
            "sources": [samples.settings() for samples in self.sources],
        }

    def rows(self, numbers: range) -> Batch:
        """Return rows by their numbers."""
        require_range(numbers)
        order = self._order[np.arange(numbers.start, numbers.stop) % self._period]
        inputs = np.empty((len(numbers), self.context_length), np.int64)
        targets = np.empty_like(inputs)
        document_ids = np.zeros_like(inputs, np.int32)  # an undivided row is one document
        for number, samples in enumerate(self.sources):
            own = range(self._count(number, numbers.start), self._count(number, numbers.stop))
            if own:
                places = np.flatnonzero(order == number)
                batch = samples.rows(own)
                inputs[places], targets[places] = batch.inputs.numpy(), batch.targets.numpy()
                if batch.document_ids is not None:
                    document_ids[places] = batch.document_ids.numpy()
        parts = (inputs, targets, document_ids) if self.has_documents else (inputs, targets)
        return Batch(*map(torch.from_numpy, parts))

    def cursor(self, number: int) -> list[Any]:
        """Return the cursors of the sources."""
        return [s.cursor(self._count(i, number)) for i, s in enumerate(self.sources)]

    def seek(self, cursor: list[Any]) -> None:
        """Give the sources their cursors.

        Raises:
            ValueError: There is not one for each source.
        """
        if not (isinstance(cursor, list) and len(cursor) == len(self.sources)):
            raise ValueError(f"cursor={cursor!r} must have one part for each source")
        for samples, own in zip(self.sources, cursor, strict=True):
            samples.seek(own)

    def _count(self, source: int, number: int) -> int:
        """Return how many of the first `number` rows are of a source."""
        periods, place = divmod(number, self._period)
        before = self._before[source]
        return periods * int(before[-1]) + int(before[place])


def schedule(parts: Sequence[int]) -> npt.NDArray[np.int64]:
    """Return which source each row of a period comes from, each source as evenly as can be.

    Among those that are not ahead of their share, the one comes next that would fall behind it
    first (Tijdeman 1980, "The chairman assignment problem",
    https://doi.org/10.1016/0012-365X(80)90269-1). So counts stay within one of the shares.

    Args:
        parts: How many rows of a period each source has.

    Returns:
        int64, (sum(parts),).

    Example:
        >>> schedule([2, 1]).tolist()
        [0, 0, 1]
    """
    period = sum(parts)
    counts = [0] * len(parts)
    order = np.empty(period, np.int64)
    for place in range(period):
        best, best_deadline = -1, period + 1
        for source, part in enumerate(parts):
            # Its next row may come once count < share of the rows up to here, and must come
            # before the share of rows reaches count + 1.
            if counts[source] * period < part * (place + 1):
                deadline = -(-(counts[source] + 1) * period // part)
                if deadline < best_deadline:
                    best, best_deadline = source, deadline
        counts[best] += 1
        order[place] = best
    return order


def _whole_parts(weights: Sequence[float]) -> list[int]:
    exact = [_as_written(weight) for weight in weights]
    shares = [weight / sum(exact) for weight in exact]
    period = math.lcm(*(share.denominator for share in shares))
    if period <= _MOST_SHARES:
        return [int(share * period) for share in shares]
    # The largest remainders are rounded up, so that parts sum to the period.
    parts = [int(share * _MOST_SHARES) for share in shares]
    by_remainder = sorted(range(len(parts)), key=lambda i: parts[i] - shares[i] * _MOST_SHARES)
    for index in by_remainder[: _MOST_SHARES - sum(parts)]:
        parts[index] += 1
    if 0 in parts:
        raise ValueError(
            f"weight={weights[parts.index(0)]} is less than one in {_MOST_SHARES} of all weights, "
            f"{list(weights)}: raise it, or leave this source out"
        )
    return parts


def _as_written(weight: float) -> Fraction:
    """Return a weight as it is meant: 0.1 is a tenth."""
    try:
        exact = Fraction(str(weight))
    except (ValueError, ZeroDivisionError):  # not a number, or not a finite one
        exact = Fraction(0)
    if exact <= 0:
        raise ValueError(f"weight={weight!r} must be a number, positive and finite")
    return exact


def _common_context_length(sources: Sequence[Samples]) -> int:
    if not sources:
        raise ValueError("a mixture needs at least one source")
    if len(set(map(id, sources))) < len(sources):
        raise ValueError(
            "the same samples twice would repeat each of their rows: give them one weight, or make "
            "others with another seed"
        )
    for samples in sources:
        if samples.num_samples is not None:
            raise ValueError(
                f"{type(samples).__name__} ends after {samples.num_samples} rows: mix sources "
                "without end, such as EpochWindows"
            )
    lengths = {samples.context_length for samples in sources}
    if len(lengths) > 1:
        raise ValueError(f"context_length must be one for all sources, but is {sorted(lengths)}")
    return lengths.pop()
