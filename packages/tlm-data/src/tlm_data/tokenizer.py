"""What tokenizes documents: a small protocol, bpe-tok behind it, and any other encoder."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from bpe_tok import Tokenizer

END_OF_TEXT = "<|endoftext|>"

MAX_PRETOKEN_BYTES = 16 << 20
"""Text that the tokenizer cannot divide, such as a run of spaces, is refused beyond this."""

MAX_FUNCTION_BYTES = 64 << 20
"""The longest document that is given to an encode function, which takes it whole."""

Ids = npt.NDArray[np.unsignedinteger[Any]]


class TooLongError(ValueError):
    """Text that can only be encoded at once is too long for that."""

    reason = "too long to encode"


class DocumentTokenizer(Protocol):
    """Turns documents into token ids; instances go to worker processes by pickle.

    Attributes:
        vocab_size: Ids are below this.
        fingerprint: Says which tokenizer it is; equal ones give equal ids.
        end_id: The id that follows each document; None for none.
        settings: What else decides the ids, values that JSON knows.
    """

    vocab_size: int
    fingerprint: str
    end_id: int | None
    settings: dict[str, Any]

    def encode_documents(self, documents: Sequence[bytes]) -> tuple[Ids, npt.NDArray[np.int64]]:
        """Encode whole documents.

        Args:
            documents: UTF-8 texts, none of them empty.

        Returns:
            The ids of all, one after another, `(num_tokens,)`, each document followed by `end_id`;
            and how many are each one's, `(num_documents,)`.
        """

    def encode_joined(
        self, text: bytes, separator: bytes
    ) -> tuple[Ids, npt.NDArray[np.int64], int] | None:
        """Encode documents with a separator between them, without dividing them first.

        Args:
            text: Documents and separators, UTF-8.
            separator: What divides the documents.

        Returns:
            What `encode_documents` returns for the documents that are not empty, and the bytes
            of their text; None where they must be divided first: the separator is not the end
            token, or a document is white space alone.
        """

    def encode_pieces(self, pieces: Iterable[bytes]) -> Iterator[Ids]:
        """Encode one long document that comes in pieces, in bounded memory.

        Args:
            pieces: Successive parts of its text, UTF-8.

        Yields:
            Its ids in order, `end_id` last.

        Raises:
            TooLongError: A part that cannot be divided is too long.
        """

    def decode_bytes(self, ids: Ids) -> bytes:
        """Return the text of ids."""

    def save(self, folder: Path) -> None:
        """Leave in a new folder what a reader needs to decode, or nothing if that has no file."""


class BpeTokenizer:
    """A bpe-tok tokenizer.

    Special tokens that stand in a document are ordinary text, so that no text can imitate the end
    of a document.

    Args:
        tokenizer: A tokenizer, or the folder of one.
        end_token: The special token that ends a document.
        append_end: Whether each document is followed by it.
        parse_special: Read special tokens that stand in a document as such.

    Raises:
        ValueError: There is no tokenizer in the folder, or it lacks `end_token`.
    """

    def __init__(
        self,
        tokenizer: Tokenizer | str | Path,
        *,
        end_token: str = END_OF_TEXT,
        append_end: bool = True,
        parse_special: bool = False,
    ) -> None:
        name = ""
        if not isinstance(tokenizer, Tokenizer):
            name = f" {tokenizer}"
            tokenizer = _load(tokenizer)
        end_id = tokenizer.special_tokens.get(end_token)
        if end_id is None and append_end:
            known = ", ".join(tokenizer.special_tokens) or "it has none"
            raise ValueError(
                f"the tokenizer{name} lacks the special token {end_token}, which is to end each "
                f"document (its special tokens: {known}): name another end token, or append none"
            )
        self.tokenizer = tokenizer
        self.vocab_size = tokenizer.vocab_size
        self.fingerprint = tokenizer.fingerprint
        self.end_id = end_id if append_end else None
        self.settings = {
            "end_token": end_token if append_end else None,
            "parse_special": parse_special,
        }
        self._end_token = end_token
        self._divider_id = None if parse_special or _overlaps_itself(end_token) else end_id
        self._allowed = "all" if parse_special else ()
        spaces = {id for id, token in tokenizer.vocab.items() if token.isspace()}
        self._is_space = np.zeros(tokenizer.vocab_size, np.bool_)
        self._is_space[list(spaces)] = True

    def encode_documents(self, documents: Sequence[bytes]) -> tuple[Ids, npt.NDArray[np.int64]]:
        """Encode whole documents: joined by the end token, which tells where each one ends."""
        if self._divider_id is not None:
            divider = self._end_token.encode()
            text = divider.join(documents) + divider
            ids = self.tokenizer.encode_array(text, allowed_special=[self._end_token])
            ends = np.flatnonzero(ids == self._divider_id)
            # There are more where a document has the end token's text in it.
            if len(ends) == len(documents):
                lengths = np.diff(ends, prepend=-1)
                if self.end_id is None:
                    return np.delete(ids, ends), lengths - 1
                return ids, lengths
        encode = partial(self.tokenizer.encode_array, allowed_special=self._allowed)
        return _joined([encode(document) for document in documents], self.end_id, self.vocab_size)

    def encode_joined(
        self, text: bytes, separator: bytes
    ) -> tuple[Ids, npt.NDArray[np.int64], int] | None:
        """Encode documents that are divided by the end token already."""
        end = self._end_token.encode()
        if separator != end or self._divider_id is None or self.end_id is None:
            return None
        if not text.endswith(end):
            text += end
        ids = self.tokenizer.encode_array(text, allowed_special=[self._end_token])
        first = int(text.startswith(end))  # no document ends there
        ids = ids[first:]
        ends = np.flatnonzero(ids == self.end_id)
        lengths = np.diff(ends, prepend=-1)
        if self._has_blank(ids, ends - lengths + 1, ends):
            return None
        num_bytes = len(text) - (first + len(ends)) * len(end)
        is_empty = lengths == 1
        if is_empty.any():
            ids, lengths = np.delete(ids, ends[is_empty]), lengths[~is_empty]
        return ids, lengths, num_bytes

    def _has_blank(
        self, ids: Ids, starts: npt.NDArray[np.intp], ends: npt.NDArray[np.intp]
    ) -> bool:
        """Tell whether one of some documents is white space alone."""
        for share in (0, 4, 2):  # most are not at their start, or at their end, or in the middle
            inner = starts + (ends - 1 - starts) * share // 4
            may_be = (starts < ends) & self._is_space[ids[inner]]
            starts, ends = starts[may_be], ends[may_be]
        spans = zip(starts.tolist(), ends.tolist(), strict=True)
        return any(self._is_space[ids[start:end]].all() for start, end in spans)

    def encode_pieces(self, pieces: Iterable[bytes]) -> Iterator[Ids]:
        """Encode one long document; text that is one pretoken must not be long beyond measure.

        Raises:
            TooLongError: More than `MAX_PRETOKEN_BYTES` are one pretoken.
        """
        source = _Watched(pieces)
        try:
            for ids in self.tokenizer.encode_pieces(
                source, allowed_special=self._allowed, max_held_bytes=MAX_PRETOKEN_BYTES
            ):
                yield np.asarray(ids)
        except ValueError as error:
            if source.failed:
                raise
            raise TooLongError(str(error)) from None
        if self.end_id is not None:
            yield np.array([self.end_id], _dtype(self.vocab_size))

    def decode_bytes(self, ids: Ids) -> bytes:
        """Return the text of ids."""
        return self.tokenizer.decode_bytes(ids)

    def save(self, folder: Path) -> None:
        """Write the tokenizer's folder."""
        self.tokenizer.save(folder)


class _Watched:
    """Yields pieces of text, and knows whether it is these that failed."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = pieces
        self.failed = False

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self._pieces
        except Exception:
            self.failed = True
            raise


class FunctionTokenizer:
    """Any encode function, such as a tiktoken or Hugging Face tokenizer's.

    Args:
        encode: Returns the ids of a text. For work in several processes it must be picklable, which
            a method of an object that is picklable is and a lambda is not.
        decode: Returns the text of a list of ids.
        vocab_size: Ids are below this.
        fingerprint: A name for this encoding, such as `"tiktoken cl100k_base"`.
        end_id: The id to put after each document; None for none.

    >>> ascii = FunctionTokenizer(
    ...     lambda text: list(text.encode()), lambda ids: bytes(ids).decode(),
    ...     vocab_size=129, fingerprint="ascii", end_id=128,
    ... )
    >>> ids, lengths = ascii.encode_documents([b"ab", b"c"])
    >>> ids.tolist(), lengths.tolist()
    ([97, 98, 128, 99, 128], [3, 2])
    """

    def __init__(
        self,
        encode: Callable[[str], Sequence[int]],
        decode: Callable[[list[int]], str],
        *,
        vocab_size: int,
        fingerprint: str,
        end_id: int | None = None,
    ) -> None:
        if end_id is not None and not 0 <= end_id < vocab_size:
            raise ValueError(f"end_id={end_id} must lie in the vocabulary 0..{vocab_size - 1}")
        self.encode = encode
        self.decode = decode
        self.vocab_size = vocab_size
        self.fingerprint = fingerprint
        self.end_id = end_id
        self.settings = {"end_id": end_id}

    def encode_documents(self, documents: Sequence[bytes]) -> tuple[Ids, npt.NDArray[np.int64]]:
        """Encode documents one by one.

        Raises:
            ValueError: The function returns ids outside the vocabulary.
            TypeError: It returns something else.
        """
        encoded = [self._ids(text.decode()) for text in documents]
        for ids in encoded:
            if ids.size and not 0 <= ids.min() <= ids.max() < self.vocab_size:
                raise ValueError(
                    f"the tokenizer {self.fingerprint} gave the ids {ids.min()} to {ids.max()}, "
                    f"outside its vocabulary 0..{self.vocab_size - 1}: raise vocab_size"
                )
        return _joined(encoded, self.end_id, self.vocab_size)

    def _ids(self, text: str) -> npt.NDArray[Any]:
        encoded = self.encode(text)
        try:
            ids = np.asarray(encoded)
        except (TypeError, ValueError):
            ids = np.array(None)
        if ids.ndim != 1 or (ids.size and ids.dtype.kind not in "iu"):
            raise TypeError(
                f"the tokenizer {self.fingerprint} must encode text as a list of whole numbers, "
                f"and not as {encoded!r:.60}: wrap it in a function that returns the ids alone"
            )
        return ids

    def encode_joined(
        self, text: bytes, separator: bytes
    ) -> tuple[Ids, npt.NDArray[np.int64], int] | None:
        """Return None: a function takes each document alone."""
        return None

    def encode_pieces(self, pieces: Iterable[bytes]) -> Iterator[Ids]:
        """Encode a long document, which the function takes whole.

        Raises:
            TooLongError: It is longer than `MAX_FUNCTION_BYTES`.
        """
        text = bytearray()
        for piece in pieces:
            text += piece
            if len(text) > MAX_FUNCTION_BYTES:
                raise TooLongError(
                    f"a document has more than {MAX_FUNCTION_BYTES} bytes, too many for the "
                    f"tokenizer {self.fingerprint}, which takes it whole: give a separator that "
                    "divides it, or leave long documents out with max_document_bytes"
                )
        yield self.encode_documents([bytes(text)])[0]

    def decode_bytes(self, ids: Ids) -> bytes:
        """Return the text of ids."""
        return self.decode(ids.tolist()).encode()

    def save(self, folder: Path) -> None:
        """Do nothing: a function is not written to files."""


def _load(folder: str | Path) -> Tokenizer:
    try:
        return Tokenizer.load(folder)
    except OSError as error:
        raise ValueError(
            f"{folder} is not a tokenizer: {error.strerror}: {error.filename}"
        ) from None


def _overlaps_itself(token: str) -> bool:
    """Tell whether a token may begin inside itself, so that text before it may shift it."""
    return any(token.startswith(token[start:]) for start in range(1, len(token)))


def _dtype(vocab_size: int) -> npt.DTypeLike:
    return np.uint16 if vocab_size <= 1 << 16 else np.uint32


def _joined(
    encoded: Sequence[npt.NDArray[Any]], end_id: int | None, vocab_size: int
) -> tuple[Ids, npt.NDArray[np.int64]]:
    """Join the ids of documents, each with the end id after it."""
    dtype = _dtype(vocab_size)
    end = np.array([] if end_id is None else [end_id], dtype)
    lengths = np.array([len(ids) + len(end) for ids in encoded], np.int64)
    parts = itertools.chain.from_iterable((ids.astype(dtype), end) for ids in encoded)
    return np.concatenate([end[:0], *parts]), lengths
