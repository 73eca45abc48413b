"""From text to token ids and back."""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from operator import index

from bpe_tok._pure.merging import merge
from bpe_tok._pure.pretoken_ids import PretokenIds
from bpe_tok._pure.pretokenizer import Pretokenizer
from bpe_tok._pure.special_finder import SpecialFinder
from bpe_tok._pure.text_input import checked_text, text_bytes
from bpe_tok.packed_ids import TYPECODES


class Encoder:
    """Turns text into token ids, and ids into bytes; many threads may use one.

    In all methods `allowed` has a byte for each special token, 0 if its text is ordinary text; None
    allows all. Of special tokens that overlap, the leftmost is taken, and of those that start
    together the longest.

    Args:
        tokens: the bytes of each id; None where an id is unused. All 256 bytes are tokens.
        merges: the ids of left part, right part and whole of each merge, in the order learned; the
            earliest is done first, and of its occurrences the leftmost. None is tiktoken's rule:
            any two tokens merge if their bytes joined are an ordinary token, the lowest id first.
        ignore_merges: whether a pretoken that is an ordinary token is that token, whatever the
            merges make of it. Under tiktoken's rule it always is.
        pattern: the name of the pattern that cuts text into pretokens.
        specials: UTF-8 and id of each special token.
    """

    def __init__(
        self,
        tokens: Sequence[bytes | None],
        merges: tuple[Sequence[int], Sequence[int], Sequence[int]] | None,
        ignore_merges: bool,
        pattern: str,
        specials: Sequence[tuple[bytes, int]],
    ) -> None:
        self._tokens = {n: token for n, token in enumerate(tokens) if token is not None}
        self._special_ids = [token_id for _, token_id in specials]
        self._finder = SpecialFinder([token.decode() for token, _ in specials])
        self._pretokenizer = Pretokenizer(pattern)
        self._byte_ids = [0] * 256
        for token_id, token in self._tokens.items():
            if len(token) == 1:
                self._byte_ids[token[0]] = token_id
        ordinary = _ordinary_ids(self._tokens, specials, merges[2] if merges else ())
        self._ranks: list[dict[int, int]] = [{} for _ in tokens]
        self._wholes: Sequence[int]
        if merges is None:
            for left, right, whole in _merges_by_rule(ordinary):
                self._ranks[left][right] = whole
            self._wholes = range(len(tokens))
        else:
            lefts, rights, self._wholes = merges
            for rank, (left, right) in enumerate(zip(lefts, rights, strict=True)):
                self._ranks[left][right] = rank
        self._whole_pretokens = ordinary if ignore_merges or merges is None else {}
        self._ids_of = PretokenIds(self._ids_of_pretoken).__getitem__

    def _ids_of_pretoken(self, pretoken: str) -> tuple[int, ...]:
        data = text_bytes(pretoken)
        whole = self._whole_pretokens.get(data)
        if whole is not None:
            return (whole,)
        ids = [self._byte_ids[byte] for byte in data]
        merge(ids, self._ranks, self._wholes)
        return tuple(ids)

    def _encode_parts(self, text: str | bytes, allowed: bytes | None) -> Iterator[Iterable[int]]:
        """Yield the ids of successive parts of a text."""
        for ordinary, special in self._finder.split(checked_text(text), allowed):
            for pretokens in self._pretokenizer.split_blocks(ordinary):
                yield chain.from_iterable(map(self._ids_of, pretokens))
            if special is not None:
                yield (self._special_ids[special],)

    def encode(self, text: str | bytes, allowed: bytes | None) -> list[int]:
        """Turn a text into token ids.

        Raises:
            UnicodeEncodeError: if a string has a lone surrogate.
            TypeError: if `text` is neither a string nor bytes.
        """
        return list(chain.from_iterable(self._encode_parts(text, allowed)))

    def encode_packed(self, text: str | bytes, allowed: bytes | None, width: int) -> bytearray:
        """Turn a text into token ids of 2 or 4 bytes each, in the machine's byte order."""
        ids = array(TYPECODES[width])
        for part in self._encode_parts(text, allowed):
            ids.extend(part)
        return bytearray(ids)

    def encode_batch(self, texts: Iterable[str | bytes], allowed: bytes | None) -> list[list[int]]:
        """Turn each of several texts into token ids."""
        return [self.encode(text, allowed) for text in texts]

    def encode_pieces(self, pieces: Iterable[str]) -> list[int]:
        """Turn a text that has been cut into pretokens into token ids.

        Args:
            pieces: the pretokens; bytes that are not UTF-8 are in them as lone surrogates, as
                `checked_text` writes them.
        """
        return list(chain.from_iterable(map(self._ids_of, pieces)))

    def count(self, text: str | bytes, allowed: bytes | None) -> int:
        """Return how many token ids a text has."""
        return sum(1 for _ in chain.from_iterable(self._encode_parts(text, allowed)))

    def find_special(self, text: str | bytes, wanted: bytes | None) -> tuple[int, int] | None:
        """Find the first special token in a text.

        Args:
            text: a text.
            wanted: a byte for each special token, 0 if it is to be passed over; None wants all.

        Returns:
            The place of the token in `specials`, and its offset in the text in bytes of UTF-8; None
            if there is none.
        """
        text = checked_text(text)
        found = self._finder.find(text, wanted)
        return (found[0], len(text_bytes(text[: found[1]]))) if found else None

    def decode(self, ids: Iterable[int]) -> bytes:
        """Turn token ids into bytes.

        Raises:
            KeyError: with the first id that is not in the vocab.
            TypeError: if an id is not an integer.
        """
        return b"".join(map(self._tokens.__getitem__, map(index, ids)))


def _ordinary_ids(
    tokens: dict[int, bytes], specials: Sequence[tuple[bytes, int]], wholes: Iterable[int]
) -> dict[bytes, int]:
    """Return the ids of the tokens that text without special tokens can turn into.

    They may be special tokens too: a single byte, or what merges make.
    """
    special_ids = {token_id for token, token_id in specials if len(token) > 1}
    special_ids.difference_update(wholes)
    return {token: token_id for token_id, token in tokens.items() if token_id not in special_ids}


def _merges_by_rule(ordinary: dict[bytes, int]) -> Iterator[tuple[int, int, int]]:
    """Yield left part, right part and whole of all pairs that merge under tiktoken's rule."""
    # Tokens have few lengths, so most places to cut a long one need no look at its bytes.
    lengths = set(map(len, ordinary))
    for token, whole in ordinary.items():
        for cut in range(1, len(token)):
            if cut not in lengths or len(token) - cut not in lengths:
                continue
            left, right = ordinary.get(token[:cut]), ordinary.get(token[cut:])
            if left is not None and right is not None:
                yield left, right, whole
