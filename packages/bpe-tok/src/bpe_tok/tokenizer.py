"""The tokenizer: text to token ids and back."""

import hashlib
import json
import os
import warnings
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from itertools import chain
from operator import index
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bpe_tok import _engine
from bpe_tok.custom_pattern import RegexEncoder
from bpe_tok.formats.gpt2 import read_gpt2, write_gpt2
from bpe_tok.formats.hugging_face import (
    FILE_NAME,
    from_hugging_face,
    read_hugging_face,
    write_hugging_face,
)
from bpe_tok.formats.parts import MergeIds, Parts
from bpe_tok.formats.tiktoken import from_encoding, read_tiktoken, to_encoding, write_tiktoken
from bpe_tok.offsets import byte_offsets, char_offsets
from bpe_tok.packed_ids import TYPECODES, id_width
from bpe_tok.parallel import map_in_order, split_evenly, thread_count
from bpe_tok.pretokenize import check_pattern, named_pretokenizer, pattern_name
from bpe_tok.segments import Segmenter, even_chunks
from bpe_tok.special import SpecialChoice, SpecialTokens, check_encodable, refusal
from bpe_tok.spelling import check_spelling
from bpe_tok.stream_decoder import StreamDecoder
from bpe_tok.text_reader import CHUNK_BYTES, read_chunks
from bpe_tok.vocab import merge_ids, pairs_of_bytes, token_ids

if TYPE_CHECKING:
    import numpy
    import tiktoken

MAX_TOKENS = (1 << 21) - 1
MAX_MERGES = (1 << 22) - 2
"""What the engine in C++ has room for, ten times the largest vocabs in use."""

_PARALLEL_CHARS = 1 << 16


class Tokenizer:
    """A byte-level BPE tokenizer.

    Special tokens are recognised wherever they stand in a text; where they overlap the leftmost
    comes first, and of those that start together the longest. In all methods that encode,
    `allowed_special` names those to recognise ("all", or some of them; the text of the others is
    ordinary text) and `disallowed_special` those for which the text is refused ("all" is all that
    are not allowed).

    A text is a string without lone surrogates, or bytes. Bytes need not be UTF-8: those that are
    not are characters of their own, neither letters nor numbers nor white space.

    A tokenizer does not change, and many threads may use one at a time.

    Args:
        vocab: the bytes of each token by id; all 256 single bytes are among the tokens, and at most
            65,536 ids between the others are unused.
        merges: pairs of tokens, in the order learned. None is tiktoken's rule: any two tokens merge
            whose bytes joined are a token, the lowest id first.
        special_tokens: strings that are one token each. Those that the vocab lacks get the next
            ids, in the order given.
        pattern: what cuts text into pretokens, a name in `bpe_tok.PATTERNS` or a regular expression
            for the `regex` package; what that leaves out between two matches is a pretoken too.
        ignore_merges: whether a pretoken that is a token is that token, whatever the merges make of
            it; so it always is under tiktoken's rule.

    Attributes:
        special_tokens: dict from special token to id, in the order of the ids.
        pattern: the name of the pattern if it is in `bpe_tok.PATTERNS`, else the regular
            expression.
        ignore_merges: as above.
        vocab_size: the highest id + 1.

    Raises:
        ValueError: if vocab and merges do not fit together, or a special token cannot be saved;
            the message says where.

    >>> tokenizer = Tokenizer.byte_level(["<|endoftext|>"])
    >>> tokenizer.encode("hi<|endoftext|>")
    [104, 105, 256]
    >>> tokenizer.decode([104, 105, 256])
    'hi<|endoftext|>'
    """

    def __init__(
        self,
        vocab: Mapping[int, bytes],
        merges: Iterable[tuple[bytes, bytes]] | None,
        special_tokens: Iterable[str] | None = None,
        *,
        pattern: str = "gpt2",
        ignore_merges: bool = False,
    ) -> None:
        specials = SpecialTokens(special_tokens).tokens
        check_spelling(specials)
        if not isinstance(vocab, Mapping):
            raise TypeError(
                f"vocab must be a dict from id to bytes, not {type(vocab).__name__}; "
                "from_files and load read files"
            )
        pairs = None if merges is None else pairs_of_bytes(merges)
        ids = token_ids(vocab)
        vocab = {token_id: vocab[token_id] for token_id in sorted(vocab)}
        for token in specials:
            next_id = next(reversed(vocab)) + 1
            vocab[ids.setdefault(token.encode(), next_id)] = token.encode()
        tokens: list[bytes | None] = [None] * (next(reversed(vocab)) + 1)
        for token_id, value in vocab.items():
            tokens[token_id] = value
        self._set_up(
            tokens,
            None if pairs is None else _columns(merge_ids(pairs, ids)),
            {token: ids[token.encode()] for token in specials},
            pattern,
            ignore_merges,
        )

    @classmethod
    def _from_ids(
        cls,
        tokens: Sequence[bytes | None],
        merge_ids: MergeIds | None,
        special_tokens: Mapping[str, int],
        pattern: str = "gpt2",
        ignore_merges: bool = False,
    ) -> "Tokenizer":
        """Make a tokenizer of what is known to fit together.

        Args:
            tokens: the bytes of each id, the special tokens among them; None where one is unused.
            merge_ids: the ids of each merge; None is tiktoken's rule.
            special_tokens: the id of each special token.
            pattern: as for the class.
            ignore_merges: as for the class.
        """
        tokenizer = cls.__new__(cls)
        tokenizer._set_up(tokens, merge_ids, special_tokens, pattern, ignore_merges)
        return tokenizer

    def _set_up(
        self,
        tokens: Sequence[bytes | None],
        merges: MergeIds | None,
        special_tokens: Mapping[str, int],
        pattern: str,
        ignore_merges: bool,
    ) -> None:
        if len(tokens) > MAX_TOKENS:
            raise ValueError(f"vocab_size={len(tokens)} must be at most {MAX_TOKENS}")
        if merges is not None and len(merges[0]) > MAX_MERGES:
            raise ValueError(
                f"merges has {len(merges[0])} pairs, which must be at most {MAX_MERGES}"
            )
        by_id = sorted(special_tokens, key=special_tokens.__getitem__)
        self.special_tokens = {token: special_tokens[token] for token in by_id}
        self.ignore_merges = bool(ignore_merges) or merges is None
        self.vocab_size = len(tokens)
        self._tokens = tokens
        self._merge_ids = merges
        self._specials = SpecialTokens(by_id)
        name = pattern_name(pattern)
        self.pattern = name or pattern
        specials = [(token.encode(), token_id) for token, token_id in self.special_tokens.items()]
        self._encoder: Any
        if name is None:
            check_pattern(pattern)
            self._encoder = RegexEncoder(tokens, merges, ignore_merges, pattern, specials)
        else:
            self._encoder = _engine.implementation.Encoder(
                tokens, merges, ignore_merges, name, specials
            )
        # Looked up once, for the sake of short texts.
        self._encode = self._encoder.encode
        self._decode = self._encoder.decode

    @classmethod
    def byte_level(cls, special_tokens: Iterable[str] | None = None) -> "Tokenizer":
        """Make a tokenizer with no merges: one token for each byte, and the special tokens.

        >>> Tokenizer.byte_level().vocab_size
        256
        """
        return cls({byte: bytes([byte]) for byte in range(256)}, [], special_tokens)

    @classmethod
    def from_files(
        cls,
        vocab_path: str | os.PathLike[str],
        merges_path: str | os.PathLike[str],
        special_tokens: Iterable[str] | None = None,
        *,
        pattern: str = "gpt2",
    ) -> "Tokenizer":
        """Read a tokenizer from GPT-2's vocab.json and merges.txt.

        Args:
            vocab_path: JSON object from token to id, tokens in GPT-2's spelling of bytes.
            merges_path: one merge a line, after a first line that may begin with `#version`.
            special_tokens: strings that are one token each; the files do not say which are. Name
                every one that has characters outside ASCII: the files have it as it is, and it
                would be read as another token's spelling.
            pattern: as for the class; the files do not name it.

        Returns:
            The tokenizer.

        Raises:
            ValueError: if a file is damaged; the message has the file and the place.
        """
        return cls._from_ids(*read_gpt2(vocab_path, merges_path, special_tokens, pattern))

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        pattern: str | None = None,
        drop_normalizer: bool = False,
    ) -> "Tokenizer":
        """Read a tokenizer that `save` wrote, or another byte-level BPE tokenizer.json.

        `encode` gives the ids that Hugging Face's gives with `add_special_tokens=False`: tokens
        that its post-processor would put around each text are not added. A warning says so.

        Args:
            path: a folder with a tokenizer.json, or such a file itself.
            pattern: a pattern to take in place of the file's.
            drop_normalizer: whether to go on without the file's normalizer, for text that is
                normalized already; else there must be none.

        Returns:
            The tokenizer.

        Raises:
            ValueError: if the file is damaged, or asks for what this class does not do; the
                message has the file and the place.
            FileNotFoundError: if there is no such file.
        """
        parts, notes = read_hugging_face(path, pattern=pattern, drop_normalizer=drop_normalizer)
        return cls._from_file(parts, os.fspath(path), notes)

    @classmethod
    def from_hf(
        cls, source: Any, *, pattern: str | None = None, drop_normalizer: bool = False
    ) -> "Tokenizer":
        """Take a tokenizer from Hugging Face's libraries; `load` says what about it differs.

        Args:
            source: a `tokenizers.Tokenizer`, a fast tokenizer of transformers, or a path as for
                `load`.
            pattern: as for `load`.
            drop_normalizer: as for `load`.

        Returns:
            The tokenizer.

        Raises:
            TypeError: if the source is anything else.
            ValueError: if it does what this class does not do.
        """
        read = read_hugging_face if isinstance(source, (str, os.PathLike)) else from_hugging_face
        parts, notes = read(source, pattern=pattern, drop_normalizer=drop_normalizer)
        name = source if isinstance(source, (str, os.PathLike)) else type(source).__name__
        return cls._from_file(parts, os.fspath(name), notes)

    @classmethod
    def from_tiktoken(
        cls,
        source: "str | os.PathLike[str] | tiktoken.Encoding",
        pattern: str | None = None,
        special_tokens: Mapping[str, int] | Iterable[str] | None = None,
    ) -> "Tokenizer":
        """Take a tokenizer from tiktoken; it has no merges, but tiktoken's rule.

        Args:
            source: a `tiktoken.Encoding`, or the path of a `.tiktoken` file.
            pattern: as for the class. Files do not name it, so it must be given for any but
                OpenAI's r50k_base, p50k_base, cl100k_base and o200k_base.
            special_tokens: the id of each special token, or their names, which get the next ids.
                None: those of the encoding or of OpenAI's file, else none.

        Returns:
            The tokenizer.

        Raises:
            TypeError: if the source is anything else.
            ValueError: if a file is damaged; the message has the file and the place.
        """
        if isinstance(source, (str, os.PathLike)):
            parts = read_tiktoken(source, pattern, special_tokens)
            return cls._from_file(parts, os.fspath(source))
        return cls._from_ids(*from_encoding(source, pattern, special_tokens))

    @classmethod
    def _from_file(cls, parts: Parts, name: str, notes: Iterable[str] = ()) -> "Tokenizer":
        """Make a tokenizer of a file's content, and say what of that it leaves undone."""
        for note in notes:
            warnings.warn(f"{name}: {note}", stacklevel=3)
        try:
            return cls._from_ids(*parts)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write tokenizer.json, in Hugging Face's format, whole or not at all.

        Hugging Face's library gives the same ids with it. Where its regex engine may read a
        pattern of one's own otherwise, a warning says so.

        Args:
            folder: where to; it is made if it is not there.
        """
        Path(folder).mkdir(parents=True, exist_ok=True)
        for note in write_hugging_face(Path(folder) / FILE_NAME, self._parts()):
            warnings.warn(f"{os.fspath(folder)}: {note}", stacklevel=2)

    def save_gpt2(
        self, vocab_path: str | os.PathLike[str], merges_path: str | os.PathLike[str]
    ) -> None:
        """Write vocab.json and merges.txt, in GPT-2's format, each whole or not at all.

        Args:
            vocab_path: where to write the vocab.
            merges_path: where to write the merges.

        Raises:
            ValueError: if the files cannot hold the tokenizer: the pattern is not GPT-2's, or a
                token does not come from merges.
        """
        write_gpt2(vocab_path, merges_path, self._parts())

    def save_tiktoken(self, path: str | os.PathLike[str]) -> None:
        """Write a `.tiktoken` file, whole or not at all.

        It has neither the pattern nor the special tokens.

        Args:
            path: where to write.

        Raises:
            ValueError: if tiktoken's rule would give other ids than the merges.
        """
        write_tiktoken(path, self._parts())

    def to_tiktoken(self, name: str = "bpe-tok") -> "tiktoken.Encoding":
        """Make a `tiktoken.Encoding` that gives the same ids; it needs tiktoken.

        Args:
            name: the name that it is to have.

        Raises:
            ImportError: if tiktoken is not installed.
            ValueError: if tiktoken's rule would give other ids than the merges.
        """
        return to_encoding(self._parts(), name)

    def _parts(self) -> Parts:
        return Parts(
            self._tokens, self._merge_ids, self.special_tokens, self.pattern, self.ignore_merges
        )

    @cached_property
    def vocab(self) -> dict[int, bytes]:
        """The bytes of each id, the special tokens among them, in the order of the ids."""
        return {n: token for n, token in enumerate(self._tokens) if token is not None}

    @cached_property
    def merges(self) -> list[tuple[bytes, bytes]] | None:
        """Pairs of tokens in the order learned; None under tiktoken's rule."""
        if self._merge_ids is None:
            return None
        token_of: Any = self._tokens.__getitem__
        lefts, rights, _ = self._merge_ids
        return list(zip(map(token_of, lefts), map(token_of, rights), strict=True))

    @cached_property
    def fingerprint(self) -> str:
        """Hexadecimal SHA-256 of all that decides the ids: equal if and only if that is.

        >>> Tokenizer.byte_level().fingerprint[:16]
        'eb78a8607581ad9f'
        """
        content: list[Any] = [
            [None if token is None else token.hex() for token in self._tokens],
            None
            if self.merges is None
            else [[left.hex(), right.hex()] for left, right in self.merges],
            list(self.special_tokens.items()),
        ]
        if self.pattern != "gpt2" or self.ignore_merges:
            content += [self.pattern, self.ignore_merges]
        return hashlib.sha256(json.dumps(content, separators=(",", ":")).encode()).hexdigest()

    def encode(
        self,
        text: str | bytes,
        *,
        allowed_special: SpecialChoice = "all",
        disallowed_special: SpecialChoice = (),
    ) -> list[int]:
        """Turn a text into token ids.

        Args:
            text: any text.
            allowed_special: special tokens to recognise.
            disallowed_special: special tokens to refuse.

        Returns:
            Token ids; `decode` gives the text back.

        Raises:
            ValueError: if the text has a lone surrogate or a disallowed special token; the message
                has its index.

        >>> Tokenizer.byte_level(["<|x|>"]).encode("<|x|>", allowed_special=())
        [60, 124, 120, 124, 62]
        """
        allowed = None
        try:
            if allowed_special != "all" or disallowed_special:
                allowed, refused = self._specials.flags(allowed_special, disallowed_special)
                self._refuse(text, refused)
            return self._encode(text, allowed)  # type: ignore[no-any-return]
        except UnicodeEncodeError:
            check_encodable(text, "text")
            raise

    def encode_array(
        self,
        text: str | bytes,
        *,
        allowed_special: SpecialChoice = "all",
        disallowed_special: SpecialChoice = (),
    ) -> "numpy.ndarray[Any, numpy.dtype[Any]]":
        """Turn a text into an array of token ids; it needs NumPy, `pip install 'bpe-tok[numpy]'`.

        Args:
            text: any text.
            allowed_special: special tokens to recognise.
            disallowed_special: special tokens to refuse.

        Returns:
            Token ids, `(num_tokens,)`, uint16 if `vocab_size` is at most 65,536, else uint32.

        Raises:
            ValueError: as `encode` does.
            ImportError: if NumPy is not installed.
        """
        try:
            import numpy
        except ImportError as error:
            raise ImportError(
                "encode_array needs NumPy: pip install 'bpe-tok[numpy]'; encode gives a list"
            ) from error
        allowed = None
        width = id_width(self.vocab_size)
        try:
            if allowed_special != "all" or disallowed_special:
                allowed, refused = self._specials.flags(allowed_special, disallowed_special)
                self._refuse(text, refused)
            packed = self._encoder.encode_packed(text, allowed, width)
        except UnicodeEncodeError:
            check_encodable(text, "text")
            raise
        return numpy.frombuffer(packed, numpy.uint16 if width == 2 else numpy.uint32)

    def encode_batch(
        self,
        texts: Iterable[str | bytes],
        *,
        threads: int | None = None,
        allowed_special: SpecialChoice = "all",
        disallowed_special: SpecialChoice = (),
    ) -> list[list[int]]:
        """Turn each of several texts into token ids, on several threads.

        Args:
            texts: any texts.
            threads: how many threads to use; None is as many as there are CPUs. Only the engine in
                C++ gains from more than one.
            allowed_special: special tokens to recognise.
            disallowed_special: special tokens to refuse.

        Returns:
            The token ids of each text.

        Raises:
            ValueError: as `encode` does; the message has the place of the text.
            TypeError: if `texts` is one text.
        """
        if isinstance(texts, (str, bytes)):
            raise TypeError("texts must be a list of texts, not one text; use encode or [text]")
        texts = list(texts)
        threads = thread_count(threads)
        allowed, refused = self._specials.flags(allowed_special, disallowed_special)
        encode_some = self._encoder.encode_batch
        try:
            if refused is not None:
                for place, text in enumerate(texts):
                    self._refuse(text, refused, f"texts[{place}]")
            if threads == 1 or len(texts) < 2 or not _is_much(texts):
                return encode_some(texts, allowed)  # type: ignore[no-any-return]
            parts = split_evenly(texts, 8 * threads)
            encoded = map_in_order(lambda part: encode_some(part, allowed), parts, threads)
            return [ids for part in encoded for ids in part]
        except UnicodeEncodeError:
            for place, text in enumerate(texts):
                check_encodable(text, f"texts[{place}]")
            raise

    def encode_iterable(
        self,
        texts: Iterable[str] | Iterable[bytes],
        *,
        allowed_special: SpecialChoice = "all",
        disallowed_special: SpecialChoice = (),
    ) -> Iterator[int]:
        """Turn a text that comes in pieces into token ids, as they are asked for.

        The pieces are successive parts of one text, such as the lines of an open file, and may end
        anywhere, within a special token too: the ids are those that `encode` gives for the whole.
        To encode separate documents, put a special token between them or call `encode` on each, for
        words that meet at the end of a piece are one word.

        Ids come once about `bpe_tok.segments.CHUNK_CHARS` characters were read, then after each so
        many more, and the last ones when the pieces end. That much text is held, or a whole
        pretoken if it is longer, such as a run of spaces. With a pattern that is not in
        `bpe_tok.PATTERNS` all text between two special tokens is held.

        Args:
            texts: the pieces of the text, all strings or all bytes; an endless iterator will do.
            allowed_special: special tokens to recognise.
            disallowed_special: special tokens to refuse.

        Returns:
            An iterator of token ids.

        Raises:
            TypeError: if `texts` is one text.
            ValueError: from the iterator, if the text has a lone surrogate or a disallowed special
                token; the message has its index in the whole text.

        >>> tokenizer = Tokenizer.byte_level(["<|endoftext|>"])
        >>> list(tokenizer.encode_iterable(["hi<|end", "oftext|>", "you"]))
        [104, 105, 256, 121, 111, 117]
        """
        if isinstance(texts, (str, bytes)):
            raise TypeError("texts must be an iterable of strings, not one string; use encode")
        allowed, refused = self._specials.flags(allowed_special, disallowed_special)
        return chain.from_iterable(self._encode_chunks(even_chunks(texts), allowed, refused))

    def _encode_chunks(
        self, chunks: Iterable[bytes], allowed: bytes | None, refused: bytes | None
    ) -> Iterator[list[int]]:
        done_chars = 0
        for segment in self._segments(chunks, allowed):
            if refused is not None:
                text = segment.decode("utf-8", "surrogateescape")
                self._refuse(text, refused, first_index=done_chars)
                done_chars += len(text)
            yield self._encode(segment, allowed)

    def encode_file(
        self,
        path: str | os.PathLike[str],
        *,
        threads: int | None = None,
        allowed_special: SpecialChoice = "all",
        disallowed_special: SpecialChoice = (),
    ) -> "Iterator[array[int]]":
        """Turn a file of any size into token ids, a part at a time, on several threads.

        The file is one text; it may hold any bytes. Little of it is in memory at a time, but a
        whole pretoken always is, and with a pattern that is not in `bpe_tok.PATTERNS` all text
        between two special tokens.

        Args:
            path: the file.
            threads: how many threads to use; None is as many as there are CPUs. Only the engine in
                C++ gains from more than one.
            allowed_special: special tokens to recognise.
            disallowed_special: special tokens to refuse.

        Returns:
            An iterator of arrays of token ids, of typecode "H" (two bytes) if `vocab_size` is at
            most 65,536, else "I" (four bytes). `tofile` writes one to a binary file, and
            `numpy.asarray` takes one without copying it.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: from the iterator, if the file has a disallowed special token; the message
                has its offset.
        """
        threads = thread_count(threads)
        allowed, refused = self._specials.flags(allowed_special, disallowed_special)
        os.stat(path)  # noqa: PTH116 -- a missing file is told now, not by the iterator
        chunks = self._segments(read_chunks(path), allowed)
        encode = partial(self._encode_part, os.fspath(path), allowed, refused)
        return map_in_order(encode, _with_offsets(chunks), threads)

    def encode_pieces(
        self,
        pieces: Iterable[str] | Iterable[bytes],
        *,
        threads: int | None = 1,
        allowed_special: SpecialChoice = "all",
        disallowed_special: SpecialChoice = (),
        max_held_bytes: int | None = None,
    ) -> "Iterator[array[int]]":
        """Turn a text of any size that comes in pieces into arrays of token ids.

        It is `encode_file` for text that is not in a file: pieces are successive parts of one text,
        may end anywhere, and are taken as they are needed. Arrays come about once a MiB. As there,
        a whole pretoken is held, or with a pattern that is not in `bpe_tok.PATTERNS` all text
        between two special tokens; `max_held_bytes` sets a limit to that.

        Args:
            pieces: the pieces of the text, all strings or all bytes; an endless iterator will do.
            threads: how many threads to use; None is as many as there are CPUs.
            allowed_special: special tokens to recognise.
            disallowed_special: special tokens to refuse.
            max_held_bytes: most bytes to hold without a place to cut; None is any number.

        Returns:
            An iterator of arrays of token ids, as from `encode_file`.

        Raises:
            TypeError: if `pieces` is one text.
            ValueError: from the iterator, if the text has a lone surrogate or a disallowed special
                token, whose offset in bytes the message has; or if there are more than
                `max_held_bytes` with no place to cut.

        >>> tokenizer = Tokenizer.byte_level(["<|endoftext|>"])
        >>> list(chain.from_iterable(tokenizer.encode_pieces([b"hi<|end", b"oftext|>"])))
        [104, 105, 256]
        """
        if isinstance(pieces, (str, bytes)):
            raise TypeError("pieces must be an iterable of texts, not one text; use encode_array")
        threads = thread_count(threads)
        allowed, refused = self._specials.flags(allowed_special, disallowed_special)
        chunks = self._segments(even_chunks(pieces, CHUNK_BYTES), allowed, max_held_bytes)
        encode = partial(self._encode_part, "text", allowed, refused)
        return map_in_order(encode, _with_offsets(chunks), threads)

    def _encode_part(
        self, name: str, allowed: bytes | None, refused: bytes | None, part: tuple[int, bytes]
    ) -> "array[int]":
        offset, segment = part
        self._refuse(segment, refused, name, offset)
        width = id_width(self.vocab_size)
        ids = array(TYPECODES[width])
        ids.frombytes(self._encoder.encode_packed(segment, allowed, width))
        return ids

    def _segments(
        self, chunks: Iterable[bytes], allowed: bytes | None, max_held_bytes: int | None = None
    ) -> Iterator[bytes]:
        """Cut a text that comes in chunks where it makes no difference to the ids."""
        name = pattern_name(self.pattern)
        specials = [token.encode() for token in self.special_tokens]
        segmenter = Segmenter(named_pretokenizer(name) if name else None, specials, allowed)
        return segmenter.segments(chunks, max_held_bytes)

    def _refuse(
        self, text: str | bytes, refused: bytes | None, name: str = "text", first_index: int = 0
    ) -> None:
        """Raise if a text has a special token that is not wanted."""
        if refused is None or (found := self._encoder.find_special(text, refused)) is None:
            return
        which, offset = found
        if isinstance(text, str):
            offset = len(text.encode()[:offset].decode())
        raise refusal(self._specials.tokens[which], name, first_index + offset)

    def count(
        self,
        text: str | bytes,
        *,
        allowed_special: SpecialChoice = "all",
        disallowed_special: SpecialChoice = (),
    ) -> int:
        """Return how many token ids a text has, without a list of them.

        Args:
            text: any text.
            allowed_special: special tokens to recognise.
            disallowed_special: special tokens to refuse.

        Raises:
            ValueError: as `encode` does.
        """
        allowed, refused = self._specials.flags(allowed_special, disallowed_special)
        try:
            self._refuse(text, refused)
            return self._encoder.count(text, allowed)  # type: ignore[no-any-return]
        except UnicodeEncodeError:
            check_encodable(text, "text")
            raise

    def decode(self, ids: Iterable[int]) -> str:
        """Turn token ids into text.

        Args:
            ids: token ids, any iterable of integers (a list, an array or tensor of one dimension).

        Returns:
            The text; bytes that are not UTF-8 become U+FFFD.

        Raises:
            ValueError: if an id is not in the vocab.
            TypeError: if an id is not an integer.
        """
        return self.decode_bytes(ids).decode("utf-8", "replace")

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """Turn token ids into bytes, which are UTF-8 only if the ids are of whole characters.

        Args:
            ids: token ids, any iterable of integers (a list, an array or tensor of one dimension).

        Returns:
            The bytes of the tokens, joined.

        Raises:
            ValueError: if an id is not in the vocab.
            TypeError: if an id is not an integer.
        """
        try:
            return self._decode(ids if type(ids) is list else _listed(ids))  # type: ignore[no-any-return]
        except KeyError as error:
            raise ValueError(
                f"token id {error.args[0]} is not in the vocab, ids are 0 to {self.vocab_size - 1}"
            ) from None
        except TypeError:
            _listed(ids)  # says what is wrong
            raise

    def decode_batch(self, batch: Iterable[Iterable[int]]) -> list[str]:
        """Turn each of several sequences of token ids into text.

        Args:
            batch: sequences of token ids, or an array or tensor of two dimensions.

        Returns:
            The text of each.

        Raises:
            ValueError: if an id is not in the vocab.
            TypeError: if an id is not an integer.
        """
        return [self.decode(ids) for ids in batch]

    def decode_iterable(self, ids: Iterable[int]) -> Iterator[str]:
        """Turn token ids into text as they come; each piece is of whole characters.

        Args:
            ids: token ids; an endless iterator will do.

        Yields:
            Pieces of text, none of them empty; joined they are what `decode` gives.

        Raises:
            ValueError: if an id is not in the vocab.
            TypeError: if an id is not an integer.
        """
        decoder = self.stream_decoder()
        for token_id in ids:
            if text := decoder.push((token_id,)):
                yield text
        if text := decoder.finish():
            yield text

    def stream_decoder(self) -> StreamDecoder:
        """Return a decoder that takes token ids as they come."""
        return StreamDecoder(self.decode_bytes)

    def offsets(
        self, ids: Iterable[int], unit: Literal["chars", "bytes"] = "chars"
    ) -> list[tuple[int, int]]:
        """Return where each token starts and ends in the text.

        Args:
            ids: token ids.
            unit: "chars" for places in what `decode` gives, where a token that has a part of a
                character spans the whole character; "bytes" for places in what `decode_bytes`
                gives.

        Returns:
            Start and end of each token.

        Raises:
            ValueError: if an id is not in the vocab, or `unit` is something else.
            TypeError: if an id is not an integer.

        >>> tokenizer = Tokenizer.byte_level()
        >>> tokenizer.offsets(tokenizer.encode("né"))
        [(0, 1), (1, 2), (1, 2)]
        """
        if unit not in ("chars", "bytes"):
            raise ValueError(f'unit={unit!r} must be "chars" or "bytes"')
        ids = _listed(ids)
        data = self.decode_bytes(ids)
        tokens: Any = map(self._tokens.__getitem__, ids)
        spans = byte_offsets(tokens)
        return spans if unit == "bytes" else char_offsets(data, spans)

    def __repr__(self) -> str:
        merges = "tiktoken's rule" if self._merge_ids is None else len(self._merge_ids[0])
        return (
            f"Tokenizer(vocab_size={self.vocab_size}, merges={merges}, "
            f"special_tokens={list(self.special_tokens)}, pattern={self.pattern!r})"
        )

    def __reduce__(self) -> tuple[object, ...]:
        # The engine stays behind: it is large, and the other process may have another one.
        content = (self._tokens, self._merge_ids, self.special_tokens, self.pattern)
        return type(self)._from_ids, (*content, self.ignore_merges)


def _columns(merges: Sequence[tuple[int, int, int]]) -> MergeIds:
    return ([m[0] for m in merges], [m[1] for m in merges], [m[2] for m in merges])


def _listed(ids: Any) -> list[int]:
    """Turn ids into a list of integers of Python's own, from arrays and tensors too."""
    try:
        return list(map(index, ids.tolist() if hasattr(ids, "tolist") else ids))
    except TypeError as error:
        raise TypeError(
            f"ids must be integers in one flat iterable: {error}; decode the rows of a batch one "
            "by one, and turn ids of another type into int"
        ) from error


def _with_offsets(parts: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    offset = 0
    for part in parts:
        yield offset, part
        offset += len(part)


def _is_much(texts: Sequence[str | bytes]) -> bool:
    """Tell whether texts are worth more than one thread."""
    try:
        return sum(map(len, texts)) >= _PARALLEL_CHARS
    except TypeError:
        return False  # the engine says what is wrong
