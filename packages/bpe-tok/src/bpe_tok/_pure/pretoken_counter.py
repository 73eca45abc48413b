"""Counting the pretokens of a corpus."""

from collections import Counter
from collections.abc import Iterable, Sequence

from bpe_tok._pure.learner import Learner
from bpe_tok._pure.pretokenizer import Pretokenizer
from bpe_tok._pure.special_finder import SpecialFinder
from bpe_tok._pure.text_input import checked_text, text_bytes


class PretokenCounter:
    """Counts the pretokens of texts; special tokens divide a text and are not counted.

    Args:
        pattern: the name of the pattern that cuts text into pretokens.
        specials: UTF-8 of each special token.

    >>> counter = PretokenCounter("gpt2", [b"<|end|>"])
    >>> counter.add("to be or<|end|>not to be")
    >>> counter.counts()
    {b'to': 1, b' be': 2, b' or': 1, b'not': 1, b' to': 1}
    """

    def __init__(self, pattern: str, specials: Sequence[bytes]) -> None:
        self._pretokenizer = Pretokenizer(pattern)
        self._finder = SpecialFinder([token.decode() for token in specials])
        self._counts: Counter[str] = Counter()

    def add(self, text: str | bytes) -> None:
        """Count the pretokens of a text.

        Raises:
            UnicodeEncodeError: if a string has a lone surrogate.
            TypeError: if `text` is neither a string nor bytes.
        """
        for ordinary, _ in self._finder.split(checked_text(text), None):
            for pretokens in self._pretokenizer.split_blocks(ordinary):
                self._counts.update(pretokens)

    def add_pieces(self, pieces: Iterable[str]) -> None:
        """Count pretokens of a text that has been cut into them.

        Args:
            pieces: the pretokens; bytes that are not UTF-8 are in them as lone surrogates, as
                `checked_text` writes them.
        """
        self._counts.update(filter(None, pieces))

    def merge(self, other: "PretokenCounter") -> None:
        """Add what another counter has counted, and leave that one empty."""
        self._counts.update(other._counts)
        other._counts = Counter()

    def counts(self) -> dict[bytes, int]:
        """Return how often each pretoken came."""
        return {text_bytes(pretoken): count for pretoken, count in self._counts.items()}

    def learner(self, min_frequency: int) -> Learner:
        """Hand the counts over to a learner, and be left empty.

        Args:
            min_frequency: see `Learner`.
        """
        counts = self.counts()
        self._counts = Counter()
        return Learner(counts, min_frequency)
