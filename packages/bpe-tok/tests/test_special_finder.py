import pytest
from bpe_tok._pure.special_finder import SpecialFinder


@pytest.mark.parametrize(
    ("tokens", "text", "parts"),
    [
        ([], "a<|x|>", [("a<|x|>", None)]),
        (["<|x|>"], "", [("", None)]),
        (["<|x|>"], "<|x|>a<|x|>", [("", 0), ("a", 0), ("", None)]),
        (["ab", "abc"], "xabcx", [("x", 1), ("x", None)]),  # longest of those that start together
        (["abc", "ab"], "xabcx", [("x", 0), ("x", None)]),  # in any order
        (["ab", "bcd"], "abcd", [("", 0), ("cd", None)]),  # the leftmost before a longer one
        (["a.c", "(", "|"], "abc|a.c(", [("abc", 2), ("", 0), ("", 1), ("", None)]),  # no patterns
    ],
)
def test_split(tokens: list[str], text: str, parts: list[tuple[str, int | None]]) -> None:
    finder = SpecialFinder(tokens)
    assert list(finder.split(text, None)) == parts
    ordinary, first = parts[0]
    assert finder.find(text, None) == (None if first is None else (first, len(ordinary)))


def test_tokens_that_are_not_allowed_are_text() -> None:
    finder = SpecialFinder(["ab", "abc", "b"])
    assert list(finder.split("abc", b"\1\0\1")) == [("", 0), ("c", None)]
    assert list(finder.split("abc", b"\0\0\1")) == [("a", 2), ("c", None)]
    assert list(finder.split("abc", b"\0\0\0")) == [("abc", None)]
    assert finder.find("abc", b"\0\0\1") == (2, 1)
    assert finder.find("abc", b"\0\0\0") is None


def test_many_choices_are_forgotten() -> None:
    finder = SpecialFinder([f"<{n}>" for n in range(10)])
    for n in range(1024):
        flags = bytes(n >> bit & 1 for bit in range(10))
        expected = [bit for bit in range(10) if n >> bit & 1]
        found = [special for _, special in finder.split("<0><1><2><3><4><5><6><7><8><9>", flags)]
        assert found == [*expected, None]
    assert len(finder._patterns) <= 64
