import pytest
from bpe_tok.special import SpecialTokens, check_encodable


@pytest.mark.parametrize(
    ("tokens", "text", "parts"),
    [
        ([], "a<|x|>", ["a<|x|>"]),
        (None, "a<|x|>", ["a<|x|>"]),
        (["<|x|>"], "", [""]),
        (["<|x|>"], "<|x|><|x|>", ["", "<|x|>", "", "<|x|>", ""]),
        (["ab", "abc"], "xabcx", ["x", "abc", "x"]),  # the longest of those that start together
        (["abc", "ab"], "xabcx", ["x", "abc", "x"]),  # in any order
        (["ab", "bcd"], "abcd", ["", "ab", "cd"]),  # the leftmost before a longer one
        (["a.c", "(", "|"], "abc|a.c(", ["abc", "|", "", "a.c", "", "(", ""]),  # no patterns
    ],
)
def test_split(tokens: list[str] | None, text: str, parts: list[str]) -> None:
    assert SpecialTokens(tokens).split(text) == parts


@pytest.mark.parametrize(
    ("tokens", "error", "message"),
    [
        ("<|x|>", TypeError, "must be a list of strings"),
        ([b"<|x|>"], TypeError, r"special_tokens\[0\]=b'<|x|>' must be a string"),
        (["x", ""], ValueError, r"special_tokens\[1\] must not be empty"),
        (["x", "y", "x"], ValueError, r"special_tokens\[2\]='x' comes twice"),
        (["x\udfff"], ValueError, r"special_tokens\[0\] has a lone surrogate, U\+DFFF, at index 1"),
    ],
)
def test_bad_tokens(tokens: list[str], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        SpecialTokens(tokens)


def test_lone_surrogates_are_named() -> None:
    check_encodable("any 🙂", "text")
    with pytest.raises(ValueError, match=r"text has a lone surrogate, U\+D83D, at index 4"):
        check_encodable("any \ud83d", "text")
