import bpe_tok


def test_exported_names() -> None:
    assert bpe_tok.__all__ == ["Tokenizer", "train", "train_bpe"]
    assert all(hasattr(bpe_tok, name) for name in bpe_tok.__all__)
    public = {name for name in dir(bpe_tok.Tokenizer) if not name.startswith("_")}
    assert public == {
        "byte_level", "decode", "decode_bytes", "encode", "encode_iterable", "fingerprint",
        "from_files", "load", "save", "save_gpt2", "vocab_size",
    }  # fmt: skip


def test_version() -> None:
    assert bpe_tok.__version__ == "0.1.0"
