"""Files damaged at random: each is refused by name, or makes a tokenizer that works."""

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bpe_tok import Tokenizer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

TEXT = "the thé  for 12345 <|end|>\n\n日本 été"
hard = settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])


@st.composite
def damages(draw: st.DrawFn) -> Callable[[bytes], bytes]:
    """A few changes: bytes cut out, put in, doubled, or exchanged."""
    changes = draw(
        st.lists(
            st.tuples(
                st.sampled_from(["cut", "insert", "double", "swap", "end"]),
                st.floats(0, 1),
                st.integers(1, 40),
                st.binary(max_size=4) | st.sampled_from([b'"', b"\n", b" ", b",", b"9", b"\\u"]),
            ),
            min_size=1,
            max_size=3,
        )
    )

    def apply(data: bytes) -> bytes:
        for kind, share, length, new in changes:
            place = int(share * len(data))
            part = data[place : place + length]
            rest = data[place + length :]
            middle = {
                "cut": b"",
                "insert": part + new,
                "double": part * 2,
                "swap": part[::-1],
                "end": b"",
            }[kind]
            data = data[:place] + middle + (b"" if kind == "end" else rest)
        return data

    return apply


@st.composite
def json_damages(draw: st.DrawFn) -> Callable[[Any], Any]:
    """A change of a value somewhere in JSON."""
    shares = draw(st.lists(st.floats(0, 0.999), min_size=1, max_size=5))
    value = draw(
        st.none()
        | st.booleans()
        | st.integers(-2, 1100)
        | st.integers()
        | st.floats()
        | st.text("aĠ 中\n\ud800", max_size=3)
        | st.just([])
        | st.just({})
        | st.just(["a", "b"])
        | st.just({"type": "ByteLevel"})
    )

    def apply(content: Any) -> Any:
        part = content
        for depth, share in enumerate(shares):
            keys = list(part) if isinstance(part, dict) else range(len(part))
            if not keys:
                break
            key = keys[int(share * len(keys))]
            if depth == len(shares) - 1 or not isinstance(part[key], (dict, list)):
                part[key] = value
                break
            part = part[key]
        return content

    return apply


def check(load: Callable[[], Tokenizer], names: str, folder: Path) -> None:
    """Load, and see that it is refused by the file's name or works."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            tokenizer = load()
    except ValueError as error:
        assert any(name in str(error) for name in names.split())
        return
    ids = tokenizer.encode(TEXT)
    assert tokenizer.decode(ids) == TEXT
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        tokenizer.save(folder)
        again = Tokenizer.load(folder)
    assert again.encode(TEXT) == ids
    assert again.fingerprint == tokenizer.fingerprint


@hard
@given(damage=damages())
def test_tokenizer_json(
    trained: Tokenizer, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    trained.save(tmp_path)
    path = tmp_path / "tokenizer.json"
    path.write_bytes(damage(path.read_bytes()))
    check(lambda: Tokenizer.load(path), "tokenizer.json", tmp_path / "again")


@hard
@given(damage=json_damages())
def test_tokenizer_json_that_is_json(
    trained: Tokenizer, tmp_path: Path, damage: Callable[[Any], Any]
) -> None:
    trained.save(tmp_path)
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(damage(json.loads(path.read_text(encoding="utf-8")))))
    check(lambda: Tokenizer.load(path), "tokenizer.json", tmp_path / "again")


@pytest.mark.parametrize("damaged", ["vocab.json", "merges.txt"])
@hard
@given(damage=damages())
def test_gpt2s_files(
    trained: Tokenizer, tmp_path: Path, damage: Callable[[bytes], bytes], damaged: str
) -> None:
    files = tmp_path / "vocab.json", tmp_path / "merges.txt"
    trained.save_gpt2(*files)
    path = tmp_path / damaged
    path.write_bytes(damage(path.read_bytes()))
    check(
        lambda: Tokenizer.from_files(*files, list(trained.special_tokens)),
        "vocab.json merges.txt",
        tmp_path / "again",
    )


@hard
@given(damage=damages())
def test_tiktoken_files(
    trained: Tokenizer, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / "some.tiktoken"
    trained.save_tiktoken(path)
    path.write_bytes(damage(path.read_bytes()))
    check(
        lambda: Tokenizer.from_tiktoken(path, "gpt2", trained.special_tokens),
        "some.tiktoken",
        tmp_path / "again",
    )
