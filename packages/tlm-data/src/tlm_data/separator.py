"""A mark between records, and what lies between its occurrences."""

import sys

import numpy as np
import numpy.typing as npt

# A byte is rare that is found less often than once in so many, in as many as these at least.
_RARE_BYTES = 512
_MIN_BYTES = 1 << 19
_SAMPLE_BYTES = 1 << 16


class Separator:
    """A mark between records.

    A record is a run of bytes that no occurrence of the mark covers, as long as it can be. So
    marks that touch or overlap (three line ends hold the mark of two line ends twice) are one
    boundary, and whether a record starts at a byte can be told from the bytes around it.

    Args:
        mark: The bytes; empty for one that never occurs.
    """

    def __init__(self, mark: bytes) -> None:
        self.mark = mark
        # The place in the mark of a byte that is seldom found in the text; None: there is none.
        self._anchor: int | None = 0 if len(mark) > 1 else None
        self._is_anchored = len(mark) < 2

    def __len__(self) -> int:
        return len(self.mark)

    def split(self, data: bytes) -> list[bytes]:
        """Return what lies before, between and after the marks in `data`.

        The first and the last may be empty, the others are not.
        """
        return [data[start:end] for start, end in self.spans(data)]

    def spans(self, data: bytes) -> list[tuple[int, int]]:
        """Return the start and the end of each of the parts that `split` gives."""
        found = self._occurrences(data)
        if not len(found):
            return [(0, len(data))]
        is_gap = found[1:] - found[:-1] > len(self.mark)
        starts = found[:-1][is_gap] + len(self.mark)
        ends = found[1:][is_gap]
        first, last = int(found[0]), int(found[-1]) + len(self.mark)
        return [(0, first), *zip(starts.tolist(), ends.tolist(), strict=True), (last, len(data))]

    def first(self, data: bytes) -> int:
        """Return where the first occurrence of the mark starts in `data`; -1 if there is none."""
        anchor = self._anchor_for(data)
        if anchor is None:
            return data.find(self.mark) if self.mark else -1
        byte = self.mark[anchor : anchor + 1]
        at = data.find(byte)
        for _ in range(len(data) // _RARE_BYTES + 1):
            if at < 0:
                return -1
            if at >= anchor and data.startswith(self.mark, at - anchor):
                return at - anchor
            at = data.find(byte, at + 1)
        return data.find(self.mark)

    def last(self, data: bytes) -> int:
        """Return where the last occurrence of the mark starts in `data`; -1 if there is none."""
        anchor = self._anchor_for(data)
        if anchor is None:
            return data.rfind(self.mark) if self.mark else -1
        byte = self.mark[anchor : anchor + 1]
        at = data.rfind(byte)
        for _ in range(len(data) // _RARE_BYTES + 1):
            if at < 0:
                return -1
            if at >= anchor and data.startswith(self.mark, at - anchor):
                return at - anchor
            at = data.rfind(byte, 0, at)
        return data.rfind(self.mark)

    def _occurrences(self, data: bytes) -> npt.NDArray[np.intp]:
        """Return where the mark occurs, overlapping ones too, in order."""
        mark = self.mark
        if not mark or len(data) < len(mark):
            return np.empty(0, np.intp)
        anchor = self._anchor_for(data)
        found = None if anchor is None else self._anchored(data, anchor)
        if found is None:
            self._anchor = None
            found = self._first_pairs(data)
        each = np.frombuffer(data, np.uint8)
        found = found[(found >= 0) & (found <= len(data) - len(mark))]
        for index, byte in enumerate(mark):
            found = found[each[found + index] == byte]
        return found

    def _anchor_for(self, data: bytes) -> int | None:
        """Return the place in the mark of the byte that is rarest in the first text seen."""
        if not self._is_anchored and len(data) >= len(self.mark):
            self._is_anchored = True
            sample = data[:_SAMPLE_BYTES]
            counts = [sample.count(byte) for byte in self.mark]
            self._anchor = counts.index(min(counts))
        return self._anchor

    def _anchored(self, data: bytes, anchor: int) -> npt.NDArray[np.intp] | None:
        """Return where the mark may start, by its rare byte; None if that is in too many places.

        Where it is rare, as `|` is in prose, this takes a fifth of the time of `bytes.split`.
        """
        byte = self.mark[anchor : anchor + 1]
        found = []
        at = data.find(byte)
        while at >= 0:
            found.append(at)
            if len(found) * _RARE_BYTES > len(data) + _MIN_BYTES:
                return None
            at = data.find(byte, at + 1)
        return np.array(found, np.intp) - anchor

    def _first_pairs(self, data: bytes) -> npt.NDArray[np.intp]:
        """Return where the first two bytes of the mark are, or its one byte."""
        first = self.mark[:2]
        if len(first) == 1:
            return np.flatnonzero(np.frombuffer(data, np.uint8) == first[0])
        number = int.from_bytes(first, sys.byteorder)
        even, odd = (np.flatnonzero(_pairs(data, start) == number) * 2 for start in (0, 1))
        found = np.concatenate([even, odd + 1])
        found.sort()
        return found


def _pairs(data: bytes, start: int) -> npt.NDArray[np.uint16]:
    """Return the pairs of bytes at `start`, two bytes later, and so on."""
    return np.frombuffer(data, np.uint16, (len(data) - start) // 2, start)
