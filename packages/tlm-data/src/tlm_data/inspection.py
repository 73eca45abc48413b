"""What is in a token store: counts, lengths of documents, frequent ids, and samples of text."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from tlm_data.token_store import TokenStore

_CHUNK_TOKENS = 1 << 22
_LARGEST_COUNTED_ID = 1 << 24
_EXACT_LENGTHS = 1 << 20
_SAMPLE_TOKENS = 60
_MOST_FREQUENT = 10

Counts = npt.NDArray[np.int64]


class Decoder(Protocol):
    """A tokenizer that turns ids back into text."""

    @property
    def vocab_size(self) -> int:
        """All ids that it knows are below it."""

    def decode_bytes(self, ids: Any, /) -> bytes:
        """Return the text of token ids, (n,)."""


@dataclass(frozen=True)
class DocumentLengths:
    """Lengths of the documents of a store, in tokens."""

    min_tokens: int
    median_tokens: int
    mean_tokens: float
    p90_tokens: int
    max_tokens: int


@dataclass(frozen=True)
class Sample:
    """The start of a document.

    Attributes:
        position: Where the document starts in the store, in tokens.
        ids: Its first token ids.
        text: Their text; None without a tokenizer.
    """

    position: int
    ids: list[int]
    text: str | None


@dataclass(frozen=True)
class Inspection:
    """Statistics of a token store; `str` of it is a table for people.

    Attributes:
        path: Where the store is.
        dtype: Of the ids.
        num_shards: Number of files that hold tokens.
        num_tokens: Number of tokens.
        num_documents: Number of documents.
        num_bytes: Length of the text in bytes; None where the store does not say.
        vocab_size: All ids are below it; None where the store does not say.
        max_id: The largest id; -1 in an empty store.
        distinct_ids: How many different ids occur; None where ids are too large to count.
        most_frequent: The most frequent ids with their counts, in falling order.
        most_frequent_text: Their texts, where there is a tokenizer.
        lengths: Lengths of the documents; None in an empty store.
        samples: Starts of documents, drawn with a chance that grows with their length.
    """

    path: str
    dtype: str
    num_shards: int
    num_tokens: int
    num_documents: int
    num_bytes: int | None
    vocab_size: int | None
    max_id: int
    distinct_ids: int | None
    most_frequent: list[tuple[int, int]]
    most_frequent_text: list[str] | None
    lengths: DocumentLengths | None
    samples: list[Sample]

    @property
    def bytes_per_token(self) -> float | None:
        """Bytes of text for each token, on average; None where the store does not say."""
        return self.num_bytes / self.num_tokens if self.num_bytes and self.num_tokens else None

    @property
    def vocab_share(self) -> float | None:
        """The part of the vocabulary that occurs, from 0 to 1; None where it is not known."""
        if self.distinct_ids is None or self.vocab_size is None:
            return None
        return self.distinct_ids / self.vocab_size

    def __str__(self) -> str:
        """Return the table."""
        return "\n".join(f"{name:<16}{value}" for name, value in self._rows())

    def _rows(self) -> list[tuple[str, str]]:
        rows = [
            ("store", self.path),
            ("tokens", f"{self.num_tokens:,}, {self.dtype}{self._in_shards()}"),
            ("documents", f"{self.num_documents:,}"),
        ]
        if self.bytes_per_token is not None:
            rows.append(("text", f"{self.num_bytes:,} bytes, {self.bytes_per_token:.2f} a token"))
        if self.lengths is not None:
            rows.append(
                (
                    "document length",
                    f"{self.lengths.min_tokens:,} to {self.lengths.max_tokens:,} tokens, "
                    f"median {self.lengths.median_tokens:,}, mean {self.lengths.mean_tokens:,.1f}, "
                    f"90 % up to {self.lengths.p90_tokens:,}",
                )
            )
        rows.append(("ids", self._ids()))
        for number, (token, count) in enumerate(self.most_frequent):
            text = f"  {self.most_frequent_text[number]!r}" if self.most_frequent_text else ""
            share = f"{count / self.num_tokens:7.2%}"
            rows.append(("most frequent" if not number else "", f"{share} {token:>7}{text}"))
        for sample in self.samples:
            text = " ".join(map(str, sample.ids)) if sample.text is None else repr(sample.text)
            rows.append((f"at {sample.position:,}", text))
        return rows

    def _in_shards(self) -> str:
        if not self.num_tokens:
            return ""
        return f" in {self.num_shards} shard{'' if self.num_shards == 1 else 's'}"

    def _ids(self) -> str:
        if not self.num_tokens:
            return "none"
        largest = f"largest {self.max_id:,}"
        if self.distinct_ids is None:
            return f"{largest}: too large to count them; is {self.dtype} the right dtype?"
        if self.vocab_share is None:
            return f"{largest}, {self.distinct_ids:,} different ones"
        return (
            f"{largest}, {self.distinct_ids:,} of {self.vocab_size:,} in the vocabulary occur "
            f"({self.vocab_share:.1%})"
        )


def inspect_store(
    store: TokenStore,
    tokenizer: Decoder | None = None,
    *,
    samples: int = 3,
    seed: int = 0,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Inspection:
    """Read a whole store once and describe it; memory does not grow with it.

    Args:
        store: The store.
        tokenizer: Decodes samples and the most frequent ids.
        samples: How many starts of documents to show, at the most.
        seed: Chooses them.
        on_progress: Called often with the tokens read and the tokens of the store.

    Raises:
        ValueError: An id is not in the tokenizer's vocabulary.
    """
    limit = tokenizer.vocab_size if tokenizer else 1 << 32
    _check_id(store.meta.get("max_id", -1), limit)  # at once, where the store says it
    counts, max_id = _count_ids(store, limit, on_progress)
    frequent = [] if counts is None else _most_frequent(counts)
    texts = None if tokenizer is None else [_decode(tokenizer, [token]) for token, _ in frequent]
    return Inspection(
        path=str(store.path),
        dtype=store.dtype.name,
        num_shards=len(store.shards),
        num_tokens=len(store),
        num_documents=store.num_documents,
        num_bytes=store.num_bytes,
        vocab_size=store.vocab_size,
        max_id=max_id,
        distinct_ids=None if counts is None else int(np.count_nonzero(counts)),
        most_frequent=frequent,
        most_frequent_text=texts,
        lengths=_document_lengths(store),
        samples=_draw_samples(store, tokenizer, samples, seed),
    )


def _check_id(max_id: int, vocab_size: int) -> None:
    if max_id >= vocab_size:
        raise ValueError(
            f"the store has the id {max_id}, but the tokenizer only ids below {vocab_size}: give "
            "the tokenizer that the store was made with"
        )


def _count_ids(
    store: TokenStore, limit: int, on_progress: Callable[[int, int], None]
) -> tuple[Counts | None, int]:
    """Return how often each id occurs, None if that would take too much memory; and the largest."""
    counts: Counts | None = np.zeros(0, np.int64)
    max_id = -1
    for first in range(0, len(store), _CHUNK_TOKENS):
        tokens = store[first : first + _CHUNK_TOKENS]
        max_id = max(max_id, int(tokens.max()))
        _check_id(max_id, limit)
        if max_id >= _LARGEST_COUNTED_ID:
            counts = None
        if counts is not None:
            found = np.bincount(tokens, minlength=len(counts))
            found[: len(counts)] += counts
            counts = found
        on_progress(min(first + _CHUNK_TOKENS, len(store)), len(store))
    return counts, max_id


def _most_frequent(counts: Counts) -> list[tuple[int, int]]:
    order = np.argsort(-counts, kind="stable")[:_MOST_FREQUENT].tolist()
    return [(token, int(counts[token])) for token in order if counts[token]]


def _document_lengths(store: TokenStore) -> DocumentLengths | None:
    """Find exact quantiles by counting lengths; the few very long documents are kept apart."""
    if not len(store):
        return None
    counts = np.zeros(_EXACT_LENGTHS, np.int64)
    long: list[int] = []
    for first in range(0, len(store), _CHUNK_TOKENS):
        end = min(first + _CHUNK_TOKENS, len(store))
        starts, ends = store.document_spans(first, end)
        lengths = (ends - starts)[starts >= first]  # each document where it starts
        long += lengths[lengths >= _EXACT_LENGTHS].tolist()
        counts += np.bincount(lengths[lengths < _EXACT_LENGTHS], minlength=_EXACT_LENGTHS)
    values = np.concatenate([np.flatnonzero(counts), np.sort(np.array(long, np.int64))])
    ends = np.cumsum(np.concatenate([counts[counts > 0], np.ones(len(long), np.int64)]))

    def quantile(part: float) -> int:
        return int(values[ends.searchsorted(part * ends[-1])])

    return DocumentLengths(
        min_tokens=int(values[0]),
        median_tokens=quantile(0.5),
        mean_tokens=len(store) / int(ends[-1]),
        p90_tokens=quantile(0.9),
        max_tokens=int(values[-1]),
    )


def _draw_samples(
    store: TokenStore, tokenizer: Decoder | None, count: int, seed: int
) -> list[Sample]:
    if not len(store):
        return []
    # A long document may be drawn several times, and is shown once.
    positions = np.random.default_rng(seed).integers(0, len(store), 4 * count)
    spans: dict[int, int] = {}
    for position in positions.tolist():
        starts, ends = store.document_spans(position, position + 1)
        if len(spans) < count:
            spans[int(starts[0])] = int(ends[0])
    drawn = []
    for start, end in sorted(spans.items()):
        ids = store[start : min(end, start + _SAMPLE_TOKENS)].tolist()
        drawn.append(Sample(start, ids, None if tokenizer is None else _decode(tokenizer, ids)))
    return drawn


def _decode(tokenizer: Decoder, ids: list[int]) -> str:
    return tokenizer.decode_bytes(ids).decode("utf-8", errors="replace")
