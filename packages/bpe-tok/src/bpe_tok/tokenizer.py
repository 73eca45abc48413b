"""The tokenizer: text to token ids and back."""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from operator import index
from pathlib import Path

from bpe_tok import formats
from bpe_tok.encoder import PretokenIds
from bpe_tok.pretokenize import blocks, even_chunks, pretokenize, stream_blocks
from bpe_tok.special import SpecialTokens, check_encodable
from bpe_tok.spelling import check_spelling
from bpe_tok.vocab import merge_ids, pairs_of_bytes, token_ids

FILE_NAME = "tokenizer.json"


class Tokenizer:
    """A byte-level BPE tokenizer with GPT-2's pattern.

    Special tokens are recognised wherever they stand in a text; where they overlap the leftmost
    comes first, and of those that start together the longest. Encoding keeps a cache of pretokens
    (see `bpe_tok.encoder.PretokenIds`) whose size is bounded.

    Args:
        vocab: the bytes of each token; the ids are 0 to len(vocab) - 1, and all 256 single bytes
            are among the tokens.
        merges: pairs of tokens, in the order learned.
        special_tokens: strings that are one token each. Those that the vocab lacks get the next
            ids, in the order given.

    Attributes:
        vocab: dict from id to bytes, the special tokens among them.
        merges: list of pairs of bytes.
        special_tokens: dict from special token to id, in the order of the ids.

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
        merges: Iterable[tuple[bytes, bytes]],
        special_tokens: Iterable[str] | None = None,
    ) -> None:
        self._specials = SpecialTokens(special_tokens)
        check_spelling(self._specials.tokens)
        self.vocab = {token_id: vocab[token_id] for token_id in sorted(vocab)}
        self.merges = pairs_of_bytes(merges)
        ids = token_ids(self.vocab)
        for token in self._specials.tokens:
            self.vocab[ids.setdefault(token.encode(), len(ids))] = token.encode()
        by_id = sorted(self._specials.tokens, key=lambda token: ids[token.encode()])
        self.special_tokens = {token: ids[token.encode()] for token in by_id}
        self._pretoken_ids = PretokenIds(
            [ids[bytes([byte])] for byte in range(256)], merge_ids(self.merges, ids)
        )

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
    ) -> "Tokenizer":
        """Read a tokenizer from GPT-2's vocab.json and merges.txt.

        Args:
            vocab_path: JSON object from token to id, tokens in GPT-2's spelling of bytes.
            merges_path: one merge a line, after a first line that may begin with `#version`.
            special_tokens: strings that are one token each; the files do not say which are. Name
                every one that has characters outside ASCII: the files have it as it is, and it
                would be read as another token's spelling.

        Returns:
            The tokenizer.

        Raises:
            ValueError: if a file is damaged; the message has the file and the place.
        """
        special_tokens = tuple(special_tokens or ())
        vocab, merges = formats.read_gpt2(vocab_path, merges_path, special_tokens)
        try:
            return cls(vocab, merges, special_tokens)
        except ValueError as error:
            raise ValueError(
                f"{os.fspath(vocab_path)}, {os.fspath(merges_path)}: {error}"
            ) from error

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Tokenizer":
        """Read a tokenizer that `save` wrote, or another byte-level BPE tokenizer.json.

        Args:
            path: a folder with a tokenizer.json, or such a file itself.

        Returns:
            The tokenizer.

        Raises:
            ValueError: if the file is damaged, or asks for what this class does not do; the
                message has the file and the place.
            FileNotFoundError: if there is no such file.
        """
        path = Path(path)
        if path.is_dir():
            path = path / FILE_NAME
        vocab, merges, special_tokens = formats.read_hf(path)
        try:
            return cls(vocab, merges, special_tokens)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write tokenizer.json, in Hugging Face's format, whole or not at all.

        Args:
            folder: where to; it is made if it is not there.
        """
        Path(folder).mkdir(parents=True, exist_ok=True)
        formats.write_hf(Path(folder) / FILE_NAME, self.vocab, self.merges, self.special_tokens)

    def save_gpt2(
        self, vocab_path: str | os.PathLike[str], merges_path: str | os.PathLike[str]
    ) -> None:
        """Write vocab.json and merges.txt, in GPT-2's format, each whole or not at all.

        Args:
            vocab_path: where to write the vocab.
            merges_path: where to write the merges.
        """
        formats.write_gpt2(vocab_path, merges_path, self.vocab, self.merges, self.special_tokens)

    @property
    def vocab_size(self) -> int:
        """How many tokens there are; the ids are 0 to vocab_size - 1."""
        return len(self.vocab)

    @property
    def fingerprint(self) -> str:
        """Hexadecimal SHA-256 of vocab, merges and special tokens: equal if and only if they are.

        >>> Tokenizer.byte_level().fingerprint[:16]
        'eb78a8607581ad9f'
        """
        content = [
            [token.hex() for token in self.vocab.values()],
            [[left.hex(), right.hex()] for left, right in self.merges],
            list(self.special_tokens.items()),
        ]
        return hashlib.sha256(json.dumps(content, separators=(",", ":")).encode()).hexdigest()

    def encode(self, text: str) -> list[int]:
        """Turn a text into token ids.

        Args:
            text: any text without lone surrogates.

        Returns:
            Token ids; `decode` gives the text back.

        Raises:
            ValueError: if the text has a lone surrogate; the message has its index.
        """
        return list(chain.from_iterable(self._encode_blocks(blocks(text, self._specials))))

    def encode_iterable(self, texts: Iterable[str]) -> Iterator[int]:
        """Turn a text that comes in pieces into token ids, as they are asked for.

        The strings are successive pieces of one text, such as the lines of an open file, and may
        end anywhere, within a special token too: the ids are those that `encode` gives for the
        whole. To encode separate documents, put a special token between them or call `encode` on
        each, for words that meet at the end of a piece are one word.

        Ids come once about `bpe_tok.pretokenize.BLOCK_CHARS` characters were read, then after
        each so many more, and the last ones when the pieces end. That much text is held, or a
        whole pretoken if it is longer, such as a run of spaces.

        Args:
            texts: the pieces of the text; an endless iterator will do.

        Returns:
            An iterator of token ids.

        Raises:
            TypeError: if `texts` is one string.
            ValueError: from the iterator, if the text has a lone surrogate; the message has its
                index in the whole text.

        >>> tokenizer = Tokenizer.byte_level(["<|endoftext|>"])
        >>> list(tokenizer.encode_iterable(["hi<|end", "oftext|>", "you"]))
        [104, 105, 256, 121, 111, 117]
        """
        if isinstance(texts, str):
            raise TypeError("texts must be an iterable of strings, not one string; use encode")
        chunks = even_chunks(texts)
        return chain.from_iterable(self._encode_blocks(stream_blocks(chunks, self._specials)))

    def _encode_blocks(self, blocks_of_text: Iterable[str]) -> Iterator[Iterable[int]]:
        """Yield the ids of each block of a text."""
        ids_of = self._pretoken_ids.__getitem__
        place = 0
        for block in blocks_of_text:
            # Ordinary text has no special token in it, so a block that equals one is one.
            if block in self.special_tokens:
                yield (self.special_tokens[block],)
            else:
                if not block.isascii():
                    check_encodable(block, "text", place)
                yield chain.from_iterable(map(ids_of, pretokenize(block)))
            place += len(block)

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
        return self.decode_bytes(ids).decode("utf-8", errors="replace")

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
            return b"".join(map(self.vocab.__getitem__, map(index, ids)))
        except TypeError as error:
            raise TypeError(
                f"ids must be integers in one flat iterable: {error}; decode the rows of a batch "
                "one by one, and turn ids of another type into int"
            ) from error
        except KeyError as error:
            raise ValueError(
                f"token id {error.args[0]} is not in the vocab, ids are 0 to {self.vocab_size - 1}"
            ) from None

    def __repr__(self) -> str:
        return (
            f"Tokenizer(vocab_size={self.vocab_size}, merges={len(self.merges)}, "
            f"special_tokens={list(self.special_tokens)})"
        )

    def __reduce__(self) -> tuple[object, ...]:
        # The cache stays behind: it can be large, and the other process fills its own.
        return type(self), (self.vocab, self.merges, tuple(self.special_tokens))
