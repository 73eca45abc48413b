import json
import warnings
from pathlib import Path
from typing import Any

import pytest
from bpe_tok import PATTERNS, Tokenizer
from hypothesis import given
from hypothesis import strategies as st

tokenizers = pytest.importorskip("tokenizers")

BYTES = [bytes([byte]) for byte in range(256)]
BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# Letters of both cases and of none, marks, digits, line ends and spaces, contractions and more.
hard_text = st.text(alphabet=" \n\r\taB\u017fé日\u0301٣1'sSlLtTdD.,/<|x|>🙂\u3000ǅ", max_size=24)


@pytest.fixture
def saved(trained: Tokenizer, tmp_path: Path) -> Path:
    trained.save(tmp_path)
    return tmp_path / "tokenizer.json"


def theirs(folder: Path) -> Any:
    return tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))


def change(path: Path, place: list[Any], value: Any) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    part = content
    for key in place[:-1]:
        part = part[key]
    part[place[-1]] = value
    path.write_text(json.dumps(content), encoding="utf-8")


def split(regex: str, **options: Any) -> dict[str, Any]:
    step = {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": False}
    return {
        "type": "Sequence",
        "pretokenizers": [{**step, **options}, {**BYTE_LEVEL, "use_regex": False}],
    }


@pytest.mark.parametrize("pattern", [*PATTERNS, r"[aeiou]+| ?\p{Lu}\p{Ll}*|\d"])
@pytest.mark.parametrize("rule", ["merges", "merges, words first", "tiktoken's"])
def test_their_library_gives_the_same_ids(
    trained: Tokenizer, corpus: list[str], tmp_path: Path, pattern: str, rule: str
) -> None:
    # Two tokens more, that no merge makes; the second is a word.
    vocab = {**trained.vocab, 1000: b"zqzq", 1001: b" loads"}
    merges = None if rule == "tiktoken's" else trained.merges
    specials = list(trained.special_tokens)
    ours = Tokenizer(
        vocab, merges, specials, pattern=pattern, ignore_merges=rule == "merges, words first"
    )
    ours.save(tmp_path)
    hugging_face = theirs(tmp_path)
    hard = "It'S  we'LL x\r\n \r\n12345 ٣٣٣٣ naïve\u0301 ǅ/\n//  \u3000日本 loads zqzq"
    for text in [*corpus, *trained.special_tokens, hard, hard + "  "]:
        assert hugging_face.encode(text).ids == ours.encode(text)
    loaded = Tokenizer.load(tmp_path)
    assert loaded.fingerprint == ours.fingerprint
    assert (loaded.pattern, loaded.merges is None) == (pattern, rule == "tiktoken's")


@pytest.fixture(scope="module")
def pairs(trained: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Any, Any]]:
    result = []
    for pattern in PATTERNS:
        folder = tmp_path_factory.mktemp(pattern)
        ours = Tokenizer(trained.vocab, trained.merges, ["<|x|>"], pattern=pattern)
        ours.save(folder)
        result.append((ours, theirs(folder)))
    return result


@given(text=hard_text)
def test_hard_text(text: str, pairs: list[tuple[Any, Any]]) -> None:
    for ours, hugging_face in pairs:
        assert hugging_face.encode(text).ids == ours.encode(text)


def test_transformers_gives_the_same_ids(
    trained: Tokenizer, saved: Path, corpus: list[str]
) -> None:
    transformers = pytest.importorskip("transformers")
    fast = transformers.PreTrainedTokenizerFast(tokenizer_file=str(saved))
    for text in corpus:
        assert fast.encode(text) == trained.encode(text)
        assert fast.decode(fast.encode(text), clean_up_tokenization_spaces=False) == text
    assert Tokenizer.from_hf(fast).fingerprint == trained.fingerprint


def test_their_own_file_and_object_are_read(
    trained: Tokenizer, saved: Path, tmp_path: Path
) -> None:
    other = tmp_path / "theirs.json"
    theirs(tmp_path).save(str(other))
    for source in (other, str(other), theirs(tmp_path), saved.parent):
        assert Tokenizer.from_hf(source).fingerprint == trained.fingerprint
    assert Tokenizer.load(other).fingerprint == trained.fingerprint


def test_what_their_trainer_makes(corpus: list[str]) -> None:
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=["<pad>", "<|endoftext|>"],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(corpus, trainer)
    tokenizer = Tokenizer.from_hf(made)
    assert tokenizer.special_tokens == {"<pad>": 0, "<|endoftext|>": 1}
    for text in [*corpus, "a<pad><|endoftext|> b"]:
        assert tokenizer.encode(text) == made.encode(text).ids
    assert tokenizer.decode(made.encode(corpus[0]).ids) == corpus[0]


def test_the_files_of_llama_3(trained: Tokenizer, saved: Path, corpus: list[str]) -> None:
    """Pairs for merges, tokens beside the vocab, Split, ignore_merges and a template."""
    content = json.loads(saved.read_text(encoding="utf-8"))
    model = content["model"]
    special_ids = set(trained.special_tokens.values())
    kept = {key: n for key, n in model["vocab"].items() if n not in special_ids}
    names = {key: place for place, key in enumerate(kept)}
    model.update(ignore_merges=True, vocab=names)
    model["merges"] = [merge.split(" ") for merge in model["merges"]]
    plain = {key: content["added_tokens"][0][key] for key in content["added_tokens"][0]}
    content["added_tokens"] = [
        {**plain, "id": len(names) + place, "content": token}
        for place, token in enumerate(["<|begin_of_text|>", "<|end_of_text|>"])
    ]
    content["pre_tokenizer"] = split(LLAMA3)
    template = {
        "type": "TemplateProcessing",
        "single": [
            {"SpecialToken": {"id": "<|begin_of_text|>", "type_id": 0}},
            {"Sequence": {"id": "A", "type_id": 0}},
        ],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {
            "<|begin_of_text|>": {
                "id": "<|begin_of_text|>",
                "ids": [len(names)],
                "tokens": ["<|begin_of_text|>"],
            }
        },
    }
    content["post_processor"] = {
        "type": "Sequence",
        "processors": [{**BYTE_LEVEL, "use_regex": True}, template],
    }
    saved.write_text(json.dumps(content), encoding="utf-8")
    hugging_face = theirs(saved.parent)
    with pytest.warns(UserWarning, match="TemplateProcessing: ids are those of add_special_tokens"):
        tokenizer = Tokenizer.load(saved)
    assert tokenizer.pattern == "llama3"
    assert tokenizer.ignore_merges
    assert tokenizer.special_tokens == {
        "<|begin_of_text|>": len(names),
        "<|end_of_text|>": len(names) + 1,
    }
    for text in [*corpus, "hi<|end_of_text|> 12345"]:
        ids = tokenizer.encode(text)
        assert hugging_face.encode(text, add_special_tokens=False).ids == ids
        assert hugging_face.encode(text).ids == [len(names), *ids]


@pytest.mark.parametrize(
    ("place", "value", "note"),
    [
        (["padding"], {"strategy": "BatchLongest"}, "padding: encode gives all ids"),
        (["truncation"], {"max_length": 5}, "truncation: encode gives all ids"),
        (["post_processor"], {"type": "RobertaProcessing"}, "RobertaProcessing: ids are those"),
    ],
)
def test_what_encode_does_not_do_is_said(
    saved: Path, place: list[Any], value: Any, note: str
) -> None:
    change(saved, place, value)
    with pytest.warns(UserWarning, match=rf"tokenizer\.json: .*{note}"):
        Tokenizer.load(saved)


def test_special_tokens_that_are_ordinary_tokens_too(tmp_path: Path) -> None:
    vocab = dict(enumerate([*BYTES, b" t"]))
    tokenizer = Tokenizer(vocab, [(b" ", b"t")], ["\n", " t", "<| |>"])
    tokenizer.save(tmp_path)
    assert Tokenizer.load(tmp_path).fingerprint == tokenizer.fingerprint
    text = "a t\n<| |>t"
    assert theirs(tmp_path).encode(text).ids == tokenizer.encode(text) == [97, 256, 10, 257, 116]


def test_ids_that_are_left_out(tmp_path: Path) -> None:
    vocab = {**dict(enumerate(BYTES)), 300: b"ab", 310: b"<|x|>"}
    tokenizer = Tokenizer(vocab, [(b"a", b"b")], ["<|x|>"])
    tokenizer.save(tmp_path)
    assert Tokenizer.load(tmp_path).fingerprint == tokenizer.fingerprint
    assert theirs(tmp_path).encode("cab<|x|>").ids == tokenizer.encode("cab<|x|>") == [99, 300, 310]


def test_a_special_token_spelled_like_another(tmp_path: Path) -> None:
    vocab = dict(enumerate([*BYTES, b" t"]))
    merges = [(b" ", b"t")]
    with pytest.raises(ValueError, match=r"special token 'Ġt' must not be the spelling of b' t'"):
        Tokenizer(vocab, merges, ["Ġt"])
    Tokenizer(vocab, merges, ["<|x|>"]).save(tmp_path)
    path = tmp_path / "tokenizer.json"
    path.write_text(path.read_text(encoding="utf-8").replace("<|x|>", "Ġt"), encoding="utf-8")
    with pytest.raises(ValueError, match=r"tokenizer\.json.*'Ġt'"):
        Tokenizer.load(path)


@pytest.mark.parametrize("special", ["été", "für", "日本", "początek", "\n", " t", "<|日|>"])
def test_special_tokens_outside_ascii_are_saved(special: str, tmp_path: Path) -> None:
    vocab = dict(enumerate([*BYTES, b"th", b" t"]))
    tokenizer = Tokenizer(vocab, [(b"t", b"h"), (b" ", b"t")], [special, "<|end|>"])
    tokenizer.save(tmp_path)
    assert Tokenizer.load(tmp_path).fingerprint == tokenizer.fingerprint
    text = f"the {special}{special}<|end|>thé {special}"
    assert theirs(tmp_path).encode(text).ids == tokenizer.encode(text)


def test_a_pattern_that_their_engine_may_read_otherwise(tmp_path: Path) -> None:
    tokenizer = Tokenizer(dict(enumerate(BYTES)), [], pattern=r"\w+$|\p{N}{1,3}+")
    with pytest.warns(UserWarning, match=r"may read the pattern from '\\\\w\+\$.* on otherwise"):
        tokenizer.save(tmp_path)
    assert Tokenizer.load(tmp_path).fingerprint == tokenizer.fingerprint
    # Their own copy of the file does not say that it is ours.
    path = tmp_path / "tokenizer.json"
    theirs(tmp_path).save(str(path))
    with pytest.raises(ValueError, match=r"Split.pattern.Regex has '\\\\w\+\$.*may mean something"):
        Tokenizer.load(path)
    assert Tokenizer.load(path, pattern="gpt2").pattern == "gpt2"


def test_a_copy_by_their_library_gives_the_same_ids(
    trained: Tokenizer, corpus: list[str], tmp_path: Path
) -> None:
    rule = Tokenizer(trained.vocab, None, list(trained.special_tokens), pattern="cl100k")
    rule.save(tmp_path)
    theirs(tmp_path).save(str(tmp_path / "tokenizer.json"))
    copy = Tokenizer.load(tmp_path)
    assert (copy.pattern, copy.merges is None, copy.ignore_merges) == ("cl100k", False, True)
    for text in corpus:
        assert copy.encode(text) == rule.encode(text)


@pytest.mark.parametrize("kind", ["NFC", "NFKC", "Lowercase"])
def test_a_normalizer(saved: Path, trained: Tokenizer, kind: str) -> None:
    change(saved, ["normalizer"], {"type": kind})
    message = r"tokenizer\.json: normalizer=.* is not supported, only null.*drop_normalizer=True"
    with pytest.raises(ValueError, match=message):
        Tokenizer.load(saved)
    assert Tokenizer.load(saved, drop_normalizer=True).fingerprint == trained.fingerprint


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (["model"], None, "model: None must be an object"),
        (["model", "type"], "WordPiece", "model: type='WordPiece' is not supported, only null or"),
        (["model", "merges"], {}, "model.merges: {} must be an array"),
        (["model", "merges", 3], "ab", r"model.merges\[3\]: 'ab' must be two tokens"),
        (["model", "merges", 3], "a  b", r"model.merges\[3\]: 'a  b' must be two tokens"),
        (["model", "merges", 3], "a\nb", r"model.merges\[3\]: 'a\\nb' must be two tokens"),
        (["model", "merges", 3], "a b\nc d", r"model.merges\[3\]: 'a b\\nc d' must be two tokens"),
        (["model", "merges", 3], ["a", 1], r"model.merges\[3\]: \['a', 1\] must be two tokens"),
        (["model", "merges", 3], "a 中", r"model.merges\[3\]: '中' is not in GPT-2's spelling"),
        (["model", "merges", 3], "a \x00", r"model.merges\[3\]: .* stands for no byte"),
        (["model", "merges", 3], "Q zq", r"merges\[3\].*the right part b'zq' is not in the vocab"),
        (["model", "merges"], [["a b"]], r"merges\[0\]: \['a b'\] must be two tokens"),
        (["model", "merges"], [["a", "b", "c"]], r"merges\[0\]: .* must be two tokens"),
        (["model", "merges"], [["", "a b"]], r"merges\[0\]: .* must be two tokens"),
        (["model", "merges"], [7], r"merges\[0\]: 7 must be two tokens"),
        (["model", "vocab"], [], "model.vocab: .* must be an object"),
        (["model", "vocab", "a"], "97", r"model.vocab\['a'\]: '97' must be an integer"),
        (["model", "vocab", "a"], True, r"model.vocab\['a'\]: True must be an integer"),
        (["model", "vocab", "a"], 98, r"id 98 is both"),
        (["model", "vocab", "a"], 5_000_000, r"has id 5000000 but only 1000 tokens"),
        (["model", "vocab", "中"], 1000, "model.vocab: '中' is not .*, name it in added_tokens"),
        (["model", "dropout"], 0.1, "model: dropout=0.1 is not supported, only null or 0"),
        (["model", "ignore_merges"], 1, "model: ignore_merges=1 is not supported, only null or f"),
        (["model", "end_of_word_suffix"], "</w>", "end_of_word_suffix='</w>' is not supported"),
        (["added_tokens"], {}, "added_tokens: {} must be an array"),
        (["added_tokens", 0], "x", r"added_tokens\[0\]: 'x' must be an object"),
        (["added_tokens", 0, "id"], None, r"added_tokens\[0\].id: None must be an integer"),
        (["added_tokens", 0, "id"], 7, r"added_tokens\[0\]: id 7 of .* must be 256, as model.voca"),
        (["added_tokens", 0, "content"], 1, r"added_tokens\[0\].content: 1 must be a string"),
        (["added_tokens", 0, "content"], "", r"added_tokens\[0\]: id 256 of '' must be 1000"),
        (["added_tokens", 0, "content"], "\ud800", r"added_tokens\[0\]: id 256 of .* must be 1000"),
        (["added_tokens", 1, "content"], "<|endoftext|>", r"added_tokens\[1\]: .* comes twice"),
        (["added_tokens", 0, "lstrip"], True, r"added_tokens\[0\]: lstrip=True is not supported"),
        (["pre_tokenizer"], None, "pre_tokenizer: None must be an object"),
        (["pre_tokenizer", "type"], "Split", "pre_tokenizer: 'Split' is not supported, only Byte"),
        (["pre_tokenizer", "use_regex"], False, "use_regex=False is not supported"),
        (["pre_tokenizer", "add_prefix_space"], True, "add_prefix_space=True is not supported"),
        (
            ["pre_tokenizer"],
            split(r"\d", behavior="Removed"),
            "behavior='Removed' is not supported",
        ),
        (["pre_tokenizer"], split(r"\d", invert=True), "invert=True is not supported"),
        (["pre_tokenizer"], split(r"\d$"), r"Regex has '\$', which may mean something else"),
        (["pre_tokenizer"], split(r"\d", pattern={"String": " "}), "Regex: None must be a string"),
        (["pre_tokenizer"], split(r"(\d"), "pattern=.* nor a regular expression"),
        (["pre_tokenizer"], {"type": "Sequence", "pretokenizers": []}, "nothing is not supported"),
        (["decoder"], {"type": "WordPiece"}, "decoder: type='WordPiece' is not supported"),
    ],
)
def test_damaged_files(saved: Path, place: list[Any], value: Any, message: str) -> None:
    change(saved, place, value)
    with pytest.raises(ValueError, match=rf"tokenizer\.json.*{message}"):
        Tokenizer.load(saved)


@pytest.mark.parametrize("content", ["", "\ud800", "Ġt"])
def test_added_tokens_that_cannot_be(saved: Path, content: str) -> None:
    change(saved, ["added_tokens", 0, "content"], content)
    change(saved, ["added_tokens", 0, "id"], 1000)
    with pytest.raises(ValueError, match=r"tokenizer\.json, added_tokens"):
        Tokenizer.load(saved)


def test_a_key_that_comes_twice(saved: Path) -> None:
    text = saved.read_text(encoding="utf-8")
    saved.write_text(text.replace('"a": 97', '"a": 97, "b": 300'), encoding="utf-8")
    with pytest.raises(ValueError, match=r"tokenizer\.json: 'b' comes twice, as 300 and 98"):
        Tokenizer.load(saved)


def test_added_tokens_of_two_kinds(saved: Path) -> None:
    content = json.loads(saved.read_text(encoding="utf-8"))
    content["added_tokens"][2]["normalized"] = True
    saved.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(
        ValueError, match=r"added_tokens: '<\|end\|><\|end\|>' may overlap '<\|end\|>'"
    ):
        Tokenizer.load(saved)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not JSON: Expecting value: line 1 column 1"),
        (b'{"model": {"type": "BPE", "voc', "not JSON: Unterminated string .* line 1 column 27"),
        (b"[]", r"\[\] must be an object"),
        (b'{"model": "\xff"}', "not UTF-8 at byte 11"),
        (b"[" * 1_000_000, "nested too deep"),
        (b'\xef\xbb\xbf{"model": {}}', "not JSON: .*BOM"),
    ],
)
def test_what_is_no_tokenizer_json(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "tokenizer.json").write_bytes(data)
    with pytest.raises(ValueError, match=rf"tokenizer\.json: .*{message}"):
        Tokenizer.load(tmp_path)


def test_truncated_files_are_refused_at_any_length(saved: Path) -> None:
    data = saved.read_bytes()
    for length in range(0, len(data) - 1, len(data) // 50):
        saved.write_bytes(data[:length])
        with pytest.raises(ValueError, match=r"tokenizer\.json"):
            Tokenizer.load(saved)


def test_what_is_no_source() -> None:
    with pytest.raises(TypeError, match=r"7 must be a tokenizers.Tokenizer, a fast tokenizer of"):
        Tokenizer.from_hf(7)


def test_saving_says_nothing(trained: Tokenizer, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trained.save(tmp_path / "new" / "folder")
        Tokenizer.load(tmp_path / "new" / "folder")
