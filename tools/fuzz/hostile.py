"""What comes in wrong: damaged vocabs and files, and calls that no one should make."""

import os
import tempfile
from pathlib import Path
from random import Random
from typing import Any

import inputs
from engines import Engines, MismatchError, outcome


def construct(random: Random, engines: Engines) -> None:
    """Build the core's encoder of a damaged vocab: an error, or an encoder that works."""
    vocab = inputs.damaged(random, inputs.vocab(random))
    text = inputs.some_text(random, [])
    engines.say("damaged vocab, text", (vocab, text))
    status, encoder = outcome(lambda core: core.Encoder(*vocab.arguments), engines.core)
    if status == "returned":
        ids = encoder.encode(text, None)
        encoder.encode_pieces([text.decode(errors="surrogateescape")])
        encoder.encode_packed(text, None, 4)
        encoder.find_special(text, None)
        outcome(lambda one: one.decode(ids), encoder)  # an id may have no bytes


def misuse(random: Random, engines: Engines) -> None:
    """Call the core with what it does not take: an error, and no crash."""
    vocab = inputs.vocab(random)
    encoder = engines.core.Encoder(*vocab.arguments)
    engines.say("vocab", vocab)
    text = inputs.some_text(random, vocab.special_bytes)
    odd: list[Any] = [None, 0, -1, 1.5, "\ud800", b"", bytearray(b"a b"), [], [1], ["a", 1], text]
    odd += [[b"a"], ["a", None], (), {}, object(), memoryview(b"abcd")[::2], b"\x01" * 99]
    odd += [["\udfff\ud800"], range(5), iter("ab"), {"a": 1}, 2**64, -(2**64), True]
    methods = [name for name in dir(engines.core.Encoder) if not name.startswith("_")]
    for _ in range(30):
        name = random.choice(methods)
        arguments = [random.choice(odd) for _ in range(random.choice((0, 1, 2, 2, 3)))]
        if arguments and random.random() < 0.7:
            arguments[0] = random.choice(([text], text, [str(text)]))
        if name == "encode_packed" and random.random() < 0.5:
            arguments = [text, None, random.choice((0, 1, 2, 3, 4, 8, -1, 2**40))]
        engines.say("call", (name, arguments))
        outcome(lambda one: getattr(one, name)(*arguments), encoder)  # noqa: B023
    engines.say("a second __init__", None)
    outcome(lambda one: one.__init__(*inputs.vocab(random).arguments), encoder)
    outcome(lambda one: one.encode(text, None), encoder)
    misuse_objects(random, engines, odd, text)


def misuse_objects(random: Random, engines: Engines, odd: list[Any], text: bytes) -> None:
    """Make objects without their constructors, and call those for training wrongly."""
    kinds = (engines.core.Encoder, engines.core.PretokenCounter, engines.core.Learner)
    for kind in kinds:
        for make in (kind.__new__, object.__new__):
            engines.say("without its constructor", (kind, make))
            status, bare = outcome(make, kind)
            if status == "returned":
                for name in dir(kind):
                    if not name.startswith("_"):
                        for arguments in ([], [text], [text, None], [text, None, 4], [1], [bare]):
                            outcome(lambda one: getattr(one, name)(*arguments), bare)  # noqa: B023
    counter = engines.core.PretokenCounter("gpt2", [])
    counter.add(text)
    for argument in odd:
        engines.say("argument of a counter", argument)
        outcome(lambda core: core.PretokenCounter(argument, [b"a"]), engines.core)  # noqa: B023
        outcome(lambda core: core.PretokenCounter("gpt2", argument), engines.core)  # noqa: B023
        name = random.choice(("add", "add_pieces", "merge", "learner"))
        status, learner = outcome(lambda one: getattr(one, name)(argument), counter)  # noqa: B023
        if status == "returned" and learner is not None:
            outcome(lambda one: one.learn(argument), learner)  # noqa: B023
    engines.say("merging a counter into itself", None)
    outcome(lambda one: one.merge(one), counter)


def tokenizer(random: Random, engines: Engines) -> None:
    """Make a `Tokenizer` of a damaged vocab: the same error or the same ids by both engines."""
    import bpe_tok
    from bpe_tok import _engine

    good = inputs.vocab(random)
    vocab, merges = inputs.damaged_mappings(random, good)
    names = [name.decode() for name in good.special_bytes]
    text = inputs.some_text(random, good.special_bytes)
    engines.say("vocab, merges, specials, text", (vocab, merges, names, text))

    def use(engine: Any) -> object:
        _engine.implementation = engine
        try:
            made = bpe_tok.Tokenizer(
                vocab, merges, names, pattern=good.pattern, ignore_merges=good.ignore_merges
            )
            ids = made.encode(text)
            if made.decode_bytes(ids) != text:
                raise MismatchError(f"decode_bytes(encode({text!r}))")
            return ids
        except (ValueError, TypeError) as error:
            return str(error)
        finally:
            _engine.implementation = engines.core

    engines.same("Tokenizer", use, engines.core, engines.pure)


def files(random: Random, engines: Engines) -> None:
    """Load damaged files: a ValueError, or a tokenizer that gives text back."""
    import bpe_tok

    documents = [inputs.text(random, []).decode() for _ in range(5)]
    trained = bpe_tok.train(documents, 300, ["<|endoftext|>"])
    text = " ".join(documents)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        trained.save(folder)
        vocab, merges = os.fspath(folder / "vocab.json"), os.fspath(folder / "merges.txt")
        trained.save_gpt2(vocab, merges)
        file = random.choice(sorted(folder.iterdir()))
        content = inputs.damaged_bytes(random, file.read_bytes())
        file.write_bytes(content)
        engines.say("file", (file.name, content))
        for load in (
            lambda: bpe_tok.Tokenizer.load(folder),
            lambda: bpe_tok.Tokenizer.from_files(vocab, merges, ["<|endoftext|>"]),
        ):
            try:
                loaded = load()
            except ValueError:
                continue
            if loaded.decode(loaded.encode(text)) != text:
                raise MismatchError(f"{text!r} does not come back")
