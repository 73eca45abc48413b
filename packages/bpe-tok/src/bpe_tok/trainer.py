"""Training: from a corpus to a vocab and its merges."""

import os
from collections.abc import Callable, Iterable, Sequence
from queue import SimpleQueue
from typing import Any

from bpe_tok import _engine
from bpe_tok.corpus import Part, Source, parts_of, size_in_bytes
from bpe_tok.custom_pattern import RegexCounter
from bpe_tok.parallel import map_in_order, thread_count
from bpe_tok.pretokenize import check_pattern, named_pretokenizer, pattern_name
from bpe_tok.segments import Segmenter
from bpe_tok.special import SpecialTokens
from bpe_tok.spelling import check_spelling
from bpe_tok.tokenizer import Tokenizer

MAX_MERGES = 0x110000 - 256
"""No vocab has more merges. (The engine in Python has a character for each token.)"""

OnProgress = Callable[[str, int, int | None], None]
"""Called with the name of the stage, and how much of it is done and of how much, if known."""

_MERGES_AT_ONCE = 64


def train(
    source: Source,
    vocab_size: int,
    special_tokens: Iterable[str] | None = None,
    *,
    pattern: str = "gpt2",
    min_frequency: int = 1,
    threads: int | None = None,
    on_progress: OnProgress | None = None,
) -> Tokenizer:
    """Train a tokenizer.

    The text is split on the special tokens and then by the pattern. The ids are the 256 bytes, then
    the special tokens, then what the merges make, in the order learned: the most frequent pair of
    tokens first, and of equally frequent pairs the greatest pair of byte strings. The same texts in
    any order and on any number of threads give the same tokenizer.

    Args:
        source: what to train on. A string or `os.PathLike` is the path of a UTF-8 file, and an
            iterable of `os.PathLike` is files; they may be larger than memory. An iterable of
            strings or bytes is texts, such as documents; bytes need not be UTF-8. Pretokens do not
            cross from one file or text to the next.
        vocab_size: how many tokens to end with; fewer are if no pairs are left to merge.
        special_tokens: strings that are one token each; they take no part in the merges.
        pattern: what cuts text into pretokens, a name in `bpe_tok.PATTERNS` or a regular expression
            for the `regex` package, under which all text between two special tokens is held in
            memory.
        min_frequency: pairs that occur more seldom are not merged.
        threads: how many threads read and count; None is as many as there are CPUs. Only the engine
            in C++ gains from more than one.
        on_progress: called often, with ("read", bytes read, bytes in all or None if that is not
            known), then ("merge", merges learned, merges to learn).

    Returns:
        The tokenizer.

    Raises:
        ValueError: if vocab_size leaves no room for the bytes and the special tokens, a special
            token cannot be saved, a text has a lone surrogate, or a file is not UTF-8; the message
            has the file and the byte offset.
        FileNotFoundError: if there is no such file.

    >>> tokenizer = train(["low low lower", "newest lowest"], 260)
    >>> tokenizer.merges
    [(b'o', b'w'), (b'l', b'ow'), (b' ', b'low'), (b's', b't')]
    """
    specials = SpecialTokens(special_tokens).tokens
    check_spelling(specials)
    for name, number in (("vocab_size", vocab_size), ("min_frequency", min_frequency)):
        if not isinstance(number, int):
            raise TypeError(f"{name}={number!r} must be an integer")
    base = [bytes([byte]) for byte in range(256)]
    # A special token of one character may be a byte, which has its id already.
    base += [value for token in specials if len(value := token.encode()) > 1]
    if not len(base) <= vocab_size <= len(base) + MAX_MERGES:
        raise ValueError(
            f"vocab_size={vocab_size} must be at least {len(base)}, for the 256 bytes and "
            f"{len(base) - 256} special tokens, and at most {len(base) + MAX_MERGES}"
        )
    if not 1 <= min_frequency < 1 << 64:
        raise ValueError(f"min_frequency={min_frequency} must be at least 1 and less than 2**64")
    counter = _count(source, specials, pattern, thread_count(threads), on_progress)
    pairs = _learn(counter.learner(min_frequency), vocab_size - len(base), on_progress)

    def id_of(number: int) -> int:
        return number if number < 256 else number - 256 + len(base)

    tokens = list(base)
    for left, right in pairs:
        tokens.append(tokens[id_of(left)] + tokens[id_of(right)])
    merge_ids = (
        [id_of(left) for left, _ in pairs],
        [id_of(right) for _, right in pairs],
        range(len(base), len(tokens)),
    )
    base_ids = {token: token_id for token_id, token in enumerate(base)}
    special_ids = {token: base_ids[token.encode()] for token in specials}
    return Tokenizer._from_ids(tokens, merge_ids, special_ids, pattern)


def train_bpe(
    input_path: str | os.PathLike[str],
    vocab_size: int,
    special_tokens: Iterable[str] | None = None,
) -> tuple[dict[int, bytes], list[tuple[bytes, bytes]]]:
    """Train on a text file: the form that the course's assignments have.

    The file is read in chunks, so it may be larger than memory.

    Args:
        input_path: a UTF-8 file.
        vocab_size: how many tokens to end with; fewer are if no pairs are left to merge.
        special_tokens: strings to split the text on; they take no part in the merges.

    Returns:
        `(vocab, merges)`: the bytes of each token id (the 256 bytes, the special tokens in the
        order given, then what the merges make), and the pairs of tokens in the order learned.

    Raises:
        ValueError: if vocab_size leaves no room for the bytes and the special tokens, a special
            token cannot be saved, or the file is not UTF-8; the message has the file and the byte
            offset.
        FileNotFoundError: if there is no such file.
    """
    tokenizer = train(os.fspath(input_path), vocab_size, special_tokens)
    return tokenizer.vocab, tokenizer.merges or []


def _learn(learner: Any, num_merges: int, on_progress: OnProgress | None) -> list[tuple[int, int]]:
    """Learn merges a few at a time, so that Ctrl-C is heard in between."""
    pairs: list[tuple[int, int]] = []
    while True:
        wanted = min(num_merges - len(pairs), _MERGES_AT_ONCE)
        learned = learner.learn(wanted)
        pairs += learned
        if on_progress is not None:
            on_progress("merge", len(pairs), num_merges)
        if len(learned) < wanted or len(pairs) == num_merges:
            return pairs


def _count(
    source: Source,
    specials: Sequence[str],
    pattern: str,
    threads: int,
    on_progress: OnProgress | None,
) -> Any:
    """Count the pretokens of a corpus, each thread for itself, and add up at the end."""
    name = pattern_name(pattern)
    special_bytes = [token.encode() for token in specials]
    if name is None:
        check_pattern(pattern)
        counters: list[Any] = [RegexCounter(pattern, special_bytes) for _ in range(threads)]
    else:
        counter_type = _engine.implementation.PretokenCounter
        counters = [counter_type(name, special_bytes) for _ in range(threads)]
    segmenter = Segmenter(named_pretokenizer(name) if name else None, special_bytes)
    free: SimpleQueue[Any] = SimpleQueue()
    for counter in counters:
        free.put(counter)

    def count(part: Part) -> int:
        counter = free.get()
        try:
            return part.count_with(counter)
        finally:
            free.put(counter)

    total_bytes = size_in_bytes(source) if on_progress is not None else None
    done_bytes = 0
    for num_bytes in map_in_order(count, parts_of(source, segmenter), threads):
        done_bytes += num_bytes
        if on_progress is not None:
            on_progress("read", done_bytes, total_bytes)
    merged = [counter.counter if name is None else counter for counter in counters]
    for other in merged[1:]:
        merged[0].merge(other)
    return merged[0]
