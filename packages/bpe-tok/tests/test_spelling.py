import pytest
from bpe_tok.spelling import check_spelling, spell, spell_vocab, unspell, unspell_vocab


def test_spelling() -> None:
    spellings = [spell(bytes([byte])) for byte in range(256)]
    assert len(set(spellings)) == 256
    assert all(len(spelling) == 1 and spelling.isprintable() for spelling in spellings)
    assert unspell("".join(spellings)) == bytes(range(256))
    assert (spell(b" the"), spell(b"\n"), spell("é".encode())) == ("Ġthe", "Ċ", "Ã©")
    with pytest.raises(ValueError, match="'中' stands for no byte"):
        unspell("a中")


def test_a_vocab_comes_back() -> None:
    vocab = {n: bytes([n]) for n in range(256)}
    vocab |= {256: b" t", 257: b"<| |>", 258: "été".encode()}
    merges, specials = [(b" ", b"t")], {"\n": 10, " t": 256, "<| |>": 257, "été": 258}
    ids = spell_vocab(vocab, merges, specials)
    assert list(ids.values()) == sorted(ids.values())
    assert (ids["Ġt"], ids[" t"], ids["<| |>"], ids["Ċ"], ids["\n"]) == (256, 256, 257, 10, 10)
    assert unspell_vocab(ids, merges, specials) == vocab


def test_a_special_token_that_is_the_spelling_of_a_byte() -> None:
    vocab = {n: bytes([n]) for n in range(256)} | {256: "é".encode()}
    with pytest.raises(ValueError, match=r"special token 'é' cannot be written.* b'\\xe9'"):
        spell_vocab(vocab, [], {"é": 256})


@pytest.mark.parametrize("token", ["é", "Ġ", "ÿ", "Ġt", "ĠĠ", "Ã©", "©©", "©Ã"])
def test_special_tokens_that_files_would_mistake(token: str) -> None:
    with pytest.raises(ValueError, match=f"special token '{token}' must not be the spelling of b"):
        check_spelling(["<|x|>", token])


def test_special_tokens_that_files_can_hold() -> None:
    check_spelling(["<|x|>", "x", "\n", " t", "été", "für", "ÿÿ", "日", "🙂", "początek", "<|Ġ|>"])
