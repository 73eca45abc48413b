"""Cutting a text that comes in chunks into segments that are encoded each on its own."""

import codecs
import re
from collections.abc import Iterable, Iterator, Sequence

from bpe_tok._pure.pretokenizer import Pretokenizer
from bpe_tok.special import check_encodable

CHUNK_CHARS = 1 << 14
"""Text that comes in pieces is worked on in chunks of about this length, to bound memory."""

_FIRST_WINDOW_BYTES = 1 << 8
# Where special tokens stand close together, the places between them are found another way.
_MOST_ATTEMPTS = 16


def even_chunks(pieces: Iterable[str | bytes], chunk_chars: int = CHUNK_CHARS) -> Iterator[bytes]:
    """Join short pieces of a text and cut long ones.

    Args:
        pieces: the text, in order; all strings, or all bytes.
        chunk_chars: a chunk has at least so many characters, or bytes, the last one excepted, and
            less than twice as many.

    Yields:
        Chunks; joined they are the text, as UTF-8 if it was strings.

    Raises:
        ValueError: if a string has a lone surrogate; the message has its index in the whole text.
        TypeError: if a piece is neither a string nor bytes, or there are both.

    >>> list(even_chunks(["one ", "t", "wo", " three four"], 6))
    [b'one two', b' three', b' four']
    """
    kind: type | None = None
    waiting: list[str | bytes] = []
    waiting_chars = 0
    done_chars = 0
    for piece in pieces:
        if type(piece) is not kind:
            kind = _kind_of(piece, kind)
        short = len(piece) <= chunk_chars
        for part in (piece,) if short else _cut(piece, chunk_chars):
            waiting.append(part)
            waiting_chars += len(part)
            if waiting_chars >= chunk_chars:
                yield _joined(waiting, done_chars)
                done_chars += waiting_chars
                waiting.clear()
                waiting_chars = 0
    if waiting_chars:
        yield _joined(waiting, done_chars)


def _cut(piece: str | bytes, chars: int) -> Iterator[str | bytes]:
    return (piece[start : start + chars] for start in range(0, len(piece), chars))


def _kind_of(piece: str | bytes, kind: type | None) -> type:
    for text_type in (str, bytes):
        if isinstance(piece, text_type) and kind in (None, text_type):
            return text_type
    others = "str or bytes" if kind is None else f"{kind.__name__} as those before it"
    raise TypeError(f"the pieces of a text must be {others}, not {type(piece).__name__}")


def _joined(parts: list[str | bytes], first_index: int) -> bytes:
    if isinstance(parts[0], bytes):
        return b"".join(parts)  # type: ignore[arg-type]
    text = "".join(parts)  # type: ignore[arg-type]
    check_encodable(text, "text", first_index)
    return text.encode()


class Segmenter:
    """Cuts text where a cut changes nothing: between two pretokens, and not in a special token.

    Args:
        pretokenizer: cuts text into pretokens; None for a pattern of which nothing is known, when
            all text between two special tokens is held.
        specials: UTF-8 of each special token.
        allowed: a byte for each of them, 0 if it is ordinary text; None allows all.
    """

    def __init__(
        self,
        pretokenizer: Pretokenizer | None,
        specials: Sequence[bytes],
        allowed: bytes | None = None,
    ) -> None:
        self._pretokenizer = pretokenizer
        longest_first = sorted(specials, key=len, reverse=True)
        self._overlap = len(longest_first[0]) - 1 if longest_first else 0
        recognised = {s for n, s in enumerate(specials) if allowed is None or allowed[n]}
        self._recognised = _alternation([s for s in longest_first if s in recognised])
        # Finds a special token at any place, also within another.
        self._anywhere = _alternation(longest_first, "(?=({}))")

    def segments(
        self, chunks: Iterable[bytes], max_held_bytes: int | None = None
    ) -> Iterator[bytes]:
        """Cut a text that comes in chunks.

        No more is held than a chunk, a longest special token and a longest pretoken.

        Args:
            chunks: the text, in order; they may end anywhere, within a character too.
            max_held_bytes: most bytes to hold without a place to cut; None is any number.

        Yields:
            Segments; joined they are the text, and their ids joined are those of the text. No
            special token, allowed or not, lies across their ends.

        Raises:
            ValueError: if there are more than `max_held_bytes` with no place to cut.

        >>> segmenter = Segmenter(Pretokenizer("gpt2"), [b"<|end|>"])
        >>> list(segmenter.segments([b"a few wo", b"rds.<|e", b"nd|>more"]))
        [b'a', b' few', b' words', b'.<|end|>more']
        """
        held = bytearray()
        searched = walked = 0
        for chunk in chunks:
            held += chunk
            # What starts here or later may turn out to be a special token.
            settled = max(len(held) - self._overlap, 0)
            cut = self._last_cut(held, searched, settled)
            if not cut:
                searched = max(searched, settled - 8)
                cut, walked = self._last_special_end(held, walked, settled)
            if cut:
                with memoryview(held) as view:
                    segment = bytes(view[:cut])
                yield segment
                del held[:cut]
                searched, walked = max(searched - cut, 0), max(walked - cut, 0)
            elif max_held_bytes is not None and len(held) > max_held_bytes:
                raise ValueError(self._too_long(held, max_held_bytes))
        if held:
            yield bytes(held)

    def _too_long(self, held: bytearray, max_held_bytes: int) -> str:
        what = "text between two special tokens, all of which the pattern needs at once,"
        if self._pretokenizer is not None:
            what = "text that is one pretoken"
        start = held[:24].decode("utf-8", "replace")
        return (
            f"{what} has more than {max_held_bytes} bytes; it begins {start!r}: divide it, or "
            "leave it out"
        )

    def _last_cut(self, held: bytearray, start: int, end: int) -> int:
        """Return the last place after `start`, at most `end`, that is safe; 0 if there is none."""
        if self._pretokenizer is None:
            return 0
        window_bytes = _FIRST_WINDOW_BYTES
        attempts = _MOST_ATTEMPTS
        while end > start and attempts:
            first = max(start, end - window_bytes)
            cut = self._last_cut_in_window(held, first, end)
            if not cut:
                end = first
                window_bytes *= 8
                continue
            overlapping = self._special_across(held, cut)
            if overlapping is None:
                return cut
            end = overlapping
            attempts -= 1
        return 0

    def _last_cut_in_window(self, held: bytearray, first: int, end: int) -> int:
        assert self._pretokenizer is not None
        # A window starts between two characters; what is cut off cannot be more than three bytes.
        for _ in range(3):
            first += first < end and held[first] & 0xC0 == 0x80
        text, length = _decode(held[first:end])
        # The character after the window is seen too; all of it, or the cut is not safe.
        after = first + length
        text += _decode(held[after : after + 4])[0][:1]
        cut = self._pretokenizer.last_cut(text)
        return first + len(text[:cut].encode("utf-8", "surrogateescape")) if cut else 0

    def _special_across(self, held: bytearray, cut: int) -> int | None:
        """Return where a special token starts that lies across a place, or None."""
        if self._anywhere is None:
            return None
        start, end = max(cut - self._overlap, 0), cut + self._overlap
        for match in self._anywhere.finditer(held, start, end):
            if match.start() < cut < match.end(1):
                return match.start()
        return None

    def _last_special_end(self, held: bytearray, walked: int, settled: int) -> tuple[int, int]:
        """Return where the last special token ends, or 0; and how far was searched for them."""
        cut = 0
        if self._recognised is not None:
            for match in self._recognised.finditer(held, walked):
                if match.start() >= settled:
                    break
                walked = match.end()
                if walked <= settled and self._special_across(held, walked) is None:
                    cut = walked
        return cut, max(walked, settled)


def _alternation(tokens: Sequence[bytes], form: str = "{}") -> re.Pattern[bytes] | None:
    if not tokens:
        return None
    return re.compile(form.encode().replace(b"{}", b"|".join(map(re.escape, tokens))))


def _decode(data: bytearray) -> tuple[str, int]:
    """Decode but for an unfinished character at the end; return the text and its bytes."""
    return codecs.utf_8_decode(data, "surrogateescape", False)
