from itertools import pairwise

import pytest
from bpe_tok import Tokenizer
from hypothesis import given
from hypothesis import strategies as st

TOKENIZER = Tokenizer.byte_level(["<|é|>"])


@given(st.binary() | st.text().map(str.encode), st.lists(st.integers(0, 30)))
def test_what_is_shown_is_the_text_and_never_half_a_character(data: bytes, cuts: list[int]) -> None:
    decoder = TOKENIZER.stream_decoder()
    bounds = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    shown = [decoder.push(list(data[start:end])) for start, end in pairwise(bounds)]
    shown.append(decoder.finish())
    assert "".join(shown) == TOKENIZER.decode(data) == data.decode("utf-8", "replace")
    assert "".join(TOKENIZER.decode_iterable(data)) == TOKENIZER.decode(data)
    assert all(TOKENIZER.decode_iterable(data))


@given(st.text())
def test_characters_of_whole_text_are_never_replaced(text: str) -> None:
    decoder = TOKENIZER.stream_decoder()
    for place, token_id in enumerate(text.encode(), 1):
        text_so_far = text.encode()[:place].decode("utf-8", "ignore")
        assert decoder.push(token_id) == text_so_far[len(text_so_far) - 1 :] * (
            text.encode()[place - 1 : place] == text_so_far.encode()[-1:]
            and len(text_so_far.encode()) == place
        )
    assert decoder.finish() == ""


def test_push_takes_one_or_many() -> None:
    numpy = pytest.importorskip("numpy")
    decoder = TOKENIZER.stream_decoder()
    assert decoder.push(0x61) == decoder.push([0x61]) == decoder.push(numpy.uint16(0x61)) == "a"
    assert decoder.push(numpy.array([0x61])) == decoder.push(iter([0x61])) == "a"
    assert decoder.push(256) == "<|é|>"
    assert decoder.push([0xE4, 0xB8]) == ""
    assert decoder.finish() == "\ufffd"
    assert decoder.push(0x61) == "a"


def test_bad_ids() -> None:
    decoder = TOKENIZER.stream_decoder()
    with pytest.raises(ValueError, match="token id 257 is not in the vocab"):
        decoder.push(257)
    with pytest.raises(TypeError, match="ids must be integers"):
        decoder.push("a")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="ids must be integers"):
        decoder.push(1.0)  # type: ignore[arg-type]
    assert decoder.push(0x61) == "a"
