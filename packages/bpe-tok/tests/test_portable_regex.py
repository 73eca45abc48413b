import pytest
import regex
from bpe_tok.formats.hugging_face import _REGEXES
from bpe_tok.formats.portable_regex import unportable
from bpe_tok.pretokenize import PATTERNS
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize("pattern", _REGEXES.values(), ids=_REGEXES)
def test_published_patterns_are_written_so(pattern: str) -> None:
    assert unportable(pattern) is None


@pytest.mark.parametrize(
    "pattern",
    [
        r"(?i)abc|(?:x|[^y-z])*+\.",
        r"\p{Han}+|\P{L}{2,3}?|a{2}|b{1,}",
        r"(?<=a)b(?!c)|(?<!d)\x0a",
        r"[\p{Lu}\-\]a-z&|]+",
        r"日本+|[ぁ-ん]",
    ],
)
def test_what_is_the_same_everywhere(pattern: str) -> None:
    assert unportable(pattern) is None
    regex.compile(pattern)


@pytest.mark.parametrize(
    ("pattern", "rest"),
    [
        (r"a$", "$"),
        (r"^a", "^a"),
        (r"a|\d{1,3}+", "{1,3}+"),
        (r"a\Z", r"\Z"),
        (r"a\h", r"\h"),
        (r"a\w", r"\w"),
        (r"\bx", r"\bx"),
        (r"[a&&b]", "[a&&b]"),
        (r"[[a]b]", "[[a]b]"),
        (r"x(?s:.)", "(?s:.)"),
        (r"x(?P<a>.)", "(?P<a>.)"),
        (r"a(?i)b", "(?i)b"),
        (r"\xe9", r"\xe9"),
        (r"a{2}?", "{2}?"),
        (r"a{,3}", "{,3}"),
        (r"[]a]", "[]a]"),
    ],
)
def test_what_is_not(pattern: str, rest: str) -> None:
    assert unportable(pattern) == rest


@given(text=st.text(alphabet=" \n\r\ta1'sS\u017fLé日\u0301.\u3000", max_size=12))
def test_the_portable_form_of_cl100k_is_the_same(text: str) -> None:
    assert regex.findall(_REGEXES["cl100k"], text) == regex.findall(PATTERNS["cl100k"], text)
