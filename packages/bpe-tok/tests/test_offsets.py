from itertools import pairwise

from bpe_tok.offsets import byte_offsets, char_offsets
from hypothesis import example, given
from hypothesis import strategies as st

# Starts, middles and ends of characters of two, three and four bytes, and what comes near them.
BYTES = st.lists(
    st.sampled_from(
        [0x41, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC1, 0xC2, 0xE0, 0xE1, 0xED, 0xEF, 0xF0, 0xF1,
         0xF4, 0xF5, 0xFF]
    ),
    max_size=20,
).map(bytes)  # fmt: skip


def naive(data: bytes, spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The definition: which character does each byte lie in?"""
    character_of = []
    for character in data.decode("utf-8", "replace"):
        start = len(character_of)
        # The bytes of a character are the fewest that decode to it and leave the rest as it is.
        rest = data.decode("utf-8", "replace")[len(set(character_of)) + 1 :]
        length = next(
            n
            for n in range(1, 5)
            if data[start : start + n].decode("utf-8", "replace") == character
            and data[start + n :].decode("utf-8", "replace") == rest
        )
        character_of += [len(set(character_of))] * length
    return [(character_of[start], character_of[end - 1] + 1) for start, end in spans]


@given(BYTES | st.text().map(str.encode), st.sets(st.integers(0, 50)))
@example("aé中🙂".encode(), {1, 2, 3, 4, 5, 6, 7, 8, 9})
def test_offsets(data: bytes, cuts: set[int]) -> None:
    bounds = sorted({0, *(cut for cut in cuts if cut < len(data)), len(data)})
    tokens = [data[start:end] for start, end in pairwise(bounds)]
    spans = byte_offsets(tokens)
    assert spans == list(pairwise(bounds))
    assert char_offsets(data, spans) == naive(data, spans)


def test_nothing() -> None:
    assert byte_offsets([]) == []
    assert char_offsets(b"", []) == []
