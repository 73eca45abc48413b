import bpe_tok


def test_exported_names() -> None:
    assert bpe_tok.__all__ == [
        "PATTERNS", "StreamDecoder", "Tokenizer", "engine", "train", "train_bpe",
    ]  # fmt: skip
    assert all(hasattr(bpe_tok, name) for name in bpe_tok.__all__)
    public = {name for name in dir(bpe_tok.Tokenizer) if not name.startswith("_")}
    assert public == {
        "byte_level", "count", "decode", "decode_batch", "decode_bytes", "decode_iterable",
        "encode", "encode_array", "encode_batch", "encode_file", "encode_iterable",
        "encode_pieces", "fingerprint", "from_files", "from_hf", "from_tiktoken", "load",
        "merges", "offsets", "save", "save_gpt2", "save_tiktoken", "stream_decoder", "to_tiktoken",
        "vocab",
    }  # fmt: skip


def test_version() -> None:
    assert bpe_tok.__version__ == "0.1.0"
