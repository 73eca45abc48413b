"""Decoding token ids as they come, without ever showing half a character."""

import codecs
from collections.abc import Callable, Iterable


class StreamDecoder:
    """Turns token ids that come one by one, or a few at a time, into text.

    A character whose bytes lie in several tokens is shown when its last byte is there. What was
    shown in all, joined, is what `Tokenizer.decode` gives for all ids.

    Args:
        decode_bytes: `Tokenizer.decode_bytes`.

    >>> from bpe_tok import Tokenizer
    >>> decoder = Tokenizer.byte_level().stream_decoder()
    >>> [decoder.push(token_id) for token_id in "né".encode()]
    ['n', '', 'é']
    >>> decoder.finish()
    ''
    """

    def __init__(self, decode_bytes: Callable[[Iterable[int]], bytes]) -> None:
        self._decode_bytes = decode_bytes
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, ids: int | Iterable[int]) -> str:
        """Take one token id or several, and return the text that they complete.

        Args:
            ids: an integer, or an iterable of them.

        Returns:
            Text, which may be empty.

        Raises:
            ValueError: if an id is not in the vocab.
            TypeError: if an id is not an integer.
        """
        one = hasattr(ids, "__index__") and not getattr(ids, "ndim", 0)
        return self._decoder.decode(self._decode_bytes((ids,) if one else ids))  # type: ignore[arg-type]

    def finish(self) -> str:
        """Say that no more ids come, and return what was held back.

        Returns:
            U+FFFD if the last character is incomplete, else nothing. The decoder can be used anew.
        """
        return self._decoder.decode(b"", final=True)
