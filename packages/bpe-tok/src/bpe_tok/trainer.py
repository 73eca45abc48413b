"""Training: from a corpus to a vocab and its merges."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import filterfalse

from bpe_tok.merges import MAX_MERGES, learn_merges
from bpe_tok.pretokenize import blocks, pretokenize, stream_blocks
from bpe_tok.special import SpecialTokens, check_encodable
from bpe_tok.spelling import check_spelling
from bpe_tok.text_reader import read_text
from bpe_tok.tokenizer import Tokenizer


def train(
    texts: Iterable[str],
    vocab_size: int,
    special_tokens: Iterable[str] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Tokenizer:
    """Train a tokenizer on documents.

    Each document is split on the special tokens and then by GPT-2's pattern. The ids are the 256
    bytes, then the special tokens, then what the merges make, in the order learned. The same
    documents in any order give the same tokenizer.

    Args:
        texts: the documents, read once; pretokens do not cross from one to the next.
        vocab_size: how many tokens to end with; fewer are if no pairs are left to merge.
        special_tokens: strings that are one token each; they take no part in the merges.
        on_progress: called with (merges learned, merges to learn) about a hundred times.

    Returns:
        The tokenizer.

    Raises:
        ValueError: if vocab_size leaves no room for the bytes and the special tokens, a special
            token cannot be saved, or a text has a lone surrogate.

    >>> tokenizer = train(["low low lower", "newest lowest"], 260)
    >>> tokenizer.merges
    [(b'o', b'w'), (b'l', b'ow'), (b' ', b'low'), (b's', b't')]
    """
    if isinstance(texts, str):
        raise TypeError("texts must be an iterable of strings, not one string; use [text]")
    specials = SpecialTokens(special_tokens)
    return Tokenizer(
        *_train(_blocks_of_texts(texts, specials), vocab_size, specials, on_progress),
        specials.tokens,
    )


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
    specials = SpecialTokens(special_tokens)
    return _train(stream_blocks(read_text(input_path), specials), vocab_size, specials)


def _train(
    blocks_of_text: Iterable[str],
    vocab_size: int,
    specials: SpecialTokens,
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[dict[int, bytes], list[tuple[bytes, bytes]]]:
    check_spelling(specials.tokens)
    base = [bytes([byte]) for byte in range(256)]
    # A special token of one character may be a byte, which has its id already.
    base += [value for token in specials.tokens if len(value := token.encode()) > 1]
    if not len(base) <= vocab_size <= len(base) + MAX_MERGES:
        raise ValueError(
            f"vocab_size={vocab_size} must be at least {len(base)}, for the 256 bytes and "
            f"{len(base) - 256} special tokens, and at most {len(base) + MAX_MERGES}"
        )
    ordinary = filterfalse(set(specials.tokens).__contains__, blocks_of_text)
    merges = learn_merges(count_pretokens(ordinary), vocab_size - len(base), on_progress)
    return dict(enumerate(base + [left + right for left, right in merges])), merges


def count_pretokens(blocks_of_text: Iterable[str]) -> Counter[str]:
    """Count the pretokens of texts without special tokens.

    >>> count_pretokens(["to be or", " not to be"])
    Counter({' be': 2, 'to': 1, ' or': 1, ' not': 1, ' to': 1})
    """
    counts: Counter[str] = Counter()
    for block in blocks_of_text:
        counts.update(pretokenize(block))
    return counts


def _blocks_of_texts(texts: Iterable[str], specials: SpecialTokens) -> Iterator[str]:
    for place, text in enumerate(texts):
        if not text.isascii():
            check_encodable(text, f"text {place}")
        yield from blocks(text, specials)
