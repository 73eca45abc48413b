import pytest
from bpe_tok.spelling import check_spelling, spell, spell_all, unspell, unspell_all
from hypothesis import given
from hypothesis import strategies as st


def test_spelling() -> None:
    spellings = [spell(bytes([byte])) for byte in range(256)]
    assert len(set(spellings)) == 256
    assert all(len(spelling) == 1 and spelling.isprintable() for spelling in spellings)
    assert unspell("".join(spellings)) == bytes(range(256))
    assert (spell(b" the"), spell(b"\n"), spell("é".encode())) == ("Ġthe", "Ċ", "Ã©")


def test_it_is_that_of_transformers() -> None:
    gpt2 = pytest.importorskip("transformers.convert_slow_tokenizer")
    assert {byte: spell(bytes([byte])) for byte in range(256)} == gpt2.bytes_to_unicode()


@pytest.mark.parametrize("spelling", ["a中", "中", "a b", "\0", "Ā\0", "\ud800", "\xad", "ń\n"])
def test_what_is_no_spelling(spelling: str) -> None:
    with pytest.raises(ValueError, match=r"is not in GPT-2's spelling: .* stands for no byte"):
        unspell(spelling)
    for many in ([spelling], ["a", spelling, "b"], ["Ā", spelling], [spelling, "Ā", "ĀĀ"]):
        with pytest.raises(ValueError, match=r"is not in GPT-2's spelling: .* stands for no byte"):
            unspell_all(many)


@given(tokens=st.lists(st.binary(max_size=4) | st.just(b"\0") | st.just(b"a\0")))
def test_many_at_once(tokens: list[bytes]) -> None:
    spellings = spell_all(tokens)
    assert spellings == [spell(token) for token in tokens]
    assert unspell_all(spellings) == tokens


@pytest.mark.parametrize("token", ["é", "Ġ", "ÿ", "Ġt", "ĠĠ", "Ã©", "©©", "©Ã", "ĠĠĠ"])
def test_special_tokens_that_files_would_mistake(token: str) -> None:
    value = unspell(token)
    with pytest.raises(ValueError) as caught:
        check_spelling(["<|x|>", token])
    assert f"special token {token!r} must not be the spelling of {value!r}" in str(caught.value)


def test_special_tokens_that_files_can_hold() -> None:
    check_spelling(["<|x|>", "x", "\n", " t", "été", "für", "ÿÿ", "日", "🙂", "początek", "<|Ġ|>"])
