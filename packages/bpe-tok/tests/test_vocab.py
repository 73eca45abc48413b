from typing import Any

import pytest
from bpe_tok import Tokenizer

BYTES = {n: bytes([n]) for n in range(256)}


@pytest.mark.parametrize(
    ("vocab", "merges", "message"),
    [
        ({**BYTES, 100_000: b"ab"}, [], r"vocab has id 100000 but only 257 tokens; at most 65,536"),
        ({**BYTES, -1: b"ab"}, [], r"vocab has id -1; ids must be integers, 0 or more"),
        ({0: b"a"}, [], r"vocab lacks 255 of the 256 single bytes, first b'\\x00'"),
        ({}, [], r"vocab lacks 256 of the 256 single bytes"),
        ({**BYTES, 256: b"a"}, [], r"vocab has b'a' twice, as ids 97 and 256"),
        ({**BYTES, 256: "ab"}, [], r"vocab\[256\]='ab' must be bytes"),
        ({**BYTES, 256: b""}, [], r"vocab\[256\]=b'' must be bytes, at least one"),
        ({**BYTES, 7: b"ab"}, [], r"vocab lacks 1 of the 256 single bytes, first b'\\x07'"),
        (BYTES, [(b"a", b"b")], r"merges\[0\]=\(b'a', b'b'\): the result b'ab' is not in"),
        ({**BYTES, 256: b"ab"}, [(b"", b"ab")], r"merges\[0\].*the left part b'' is not in"),
        ({**BYTES, 256: b"abc"}, [(b"a", b"bc")], r"merges\[0\].*the right part b'bc' is not in"),
        (BYTES, [(b"a",)], r"merges\[0\]=\(b'a',\) must be two tokens as bytes"),
        ({**BYTES, 256: b"ab"}, [[b"a", b"b"], (b"a", b"b", b"c")], r"merges\[1\]=.* must be two"),
        (BYTES, [("a", "b")], r"merges\[0\]=\('a', 'b'\) must be two tokens as bytes"),
        (BYTES, [b"ab"], r"merges\[0\]=b'ab' must be two tokens as bytes"),
        (BYTES, [7], r"merges\[0\]=7 must be two tokens as bytes"),
        ({**BYTES, 256: b"ab"}, [(b"a", b"b")] * 2, r"merges\[1\].* repeats merges\[0\]"),
    ],
)
def test_vocab_and_merges_are_checked(
    vocab: dict[int, Any], merges: list[tuple[bytes, bytes]], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Tokenizer(vocab, merges)


def test_ids_may_be_left_out() -> None:
    tokenizer = Tokenizer({**BYTES, 60_000: b"ab"}, [(b"a", b"b")])
    assert tokenizer.encode("abc") == [60_000, 99]
    assert tokenizer.vocab_size == 60_001
