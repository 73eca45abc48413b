from typing import Any

import pytest
from bpe_tok.special import SpecialTokens, check_encodable

TOKENS = SpecialTokens(["<|a|>", "<|b|>", "<|c|>"])


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


@pytest.mark.parametrize(
    ("allowed", "disallowed", "flags"),
    [
        ("all", (), (None, None)),
        ("all", "all", (None, None)),
        ((), (), (b"\0\0\0", None)),
        ((), "all", (b"\0\0\0", b"\1\1\1")),
        (["<|b|>"], "all", (b"\0\1\0", b"\1\0\1")),
        ({"<|b|>"}, {"<|c|>"}, (b"\0\1\0", b"\0\0\1")),
        ("all", {"<|c|>"}, (None, b"\0\0\1")),
        ({"<|a|>", "<|b|>", "<|c|>"}, (), (None, None)),
        (dict.fromkeys(["<|a|>"]), frozenset(), (b"\1\0\0", None)),
    ],
)
def test_flags(allowed: Any, disallowed: Any, flags: tuple[bytes | None, bytes | None]) -> None:
    assert TOKENS.flags(allowed, disallowed) == flags
    assert SpecialTokens(None).flags("all", "all") == (None, None)
    assert SpecialTokens(None).flags((), ()) == (None, None)


@pytest.mark.parametrize(
    ("choice", "error", "message"),
    [
        (
            ["<|x|>"],
            ValueError,
            r"has '<\|x\|>', which is not a special token .*; it has '<\|a\|>'",
        ),
        ("<|a|>", TypeError, r"='<\|a\|>' must be \"all\" or a collection of special tokens"),
        (b"all", TypeError, r"=b'all' must be \"all\" or a coll"),
        ([1], ValueError, "has 1, which is not a special token"),
    ],
)
def test_bad_choices(choice: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"allowed_special.?{message}"):
        TOKENS.flags(choice, ())
    with pytest.raises(error, match=f"disallowed_special.?{message}"):
        TOKENS.flags("all", choice)
    with pytest.raises(ValueError, match="it has none"):
        SpecialTokens([]).flags(["<|a|>"], ())


def test_lone_surrogates_are_named() -> None:
    check_encodable("any 🙂", "text")
    check_encodable(b"\xff", "text")
    with pytest.raises(ValueError, match=r"text has a lone surrogate, U\+D83D, at index 4"):
        check_encodable("any \ud83d", "text")


def test_an_iterator_of_unknown_special_tokens_is_refused() -> None:
    with pytest.raises(ValueError, match="'nope'"):
        SpecialTokens(["<|a|>"]).flags(iter(["nope"]), ())
