"""What engines are for: each check makes inputs and compares what the two give."""

import sys
import threading
from collections.abc import Callable
from random import Random
from typing import Any

import inputs
from engines import Engines, MismatchError, as_str, brief, outcome

# Turns random bytes into letters.
LETTERS = (b"abcdefghijklmnopqrstuvwxyz" * 10)[:256]


def encode(random: Random, engines: Engines) -> None:
    """Encode texts in every way that there is, and decode the ids."""
    vocab = inputs.vocab(random)
    engines.say("vocab", vocab)
    core, pure = (engine.Encoder(*vocab.arguments) for engine in (engines.core, engines.pure))
    for _ in range(random.randrange(1, 12)):
        flags = bytes(random.randrange(2) for _ in vocab.specials)
        allowed = None if random.random() < 0.5 else flags
        text = inputs.some_text(random, vocab.special_bytes)
        engines.say("allowed", allowed)
        check_ways(engines, core, pure, text, allowed, len(vocab.tokens))
        ids = pure.encode(text, allowed)
        if pure.decode(ids) != text:
            raise MismatchError(f"decode(encode({text!r}))")
        engines.same("decode", lambda one: one.decode(ids), core, pure)  # noqa: B023
    batch: list[str | bytes] = []
    for _ in range(random.randrange(8)):
        text = inputs.some_text(random, vocab.special_bytes)
        batch.append(as_str(text) or text)
    engines.say("batch", batch)
    engines.same("encode_batch", lambda one: one.encode_batch(batch, None), core, pure)
    pieces = [inputs.some_text(random, []).decode(errors="surrogateescape") for _ in range(5)]
    pieces += [" the", "", "a"]
    engines.say("pieces", pieces)
    engines.same("encode_pieces", lambda one: one.encode_pieces(pieces), core, pure)


def check_ways(
    engines: Engines, core: Any, pure: Any, text: bytes, allowed: bytes | None, size: int
) -> None:
    """Compare the ways to encode one text."""
    ways: dict[str, Callable[[Any, str | bytes], Any]] = {
        "encode": lambda one, text: one.encode(text, allowed),
        "count": lambda one, text: one.count(text, allowed),
        "find_special": lambda one, text: one.find_special(text, allowed),
        "packed 4": lambda one, text: one.encode_packed(text, allowed, 4),
    }
    if size <= 0x10000:
        ways["packed 2"] = lambda one, text: one.encode_packed(text, allowed, 2)
    for name, way in ways.items():
        engines.same_on_text(name, way, core, pure, text)
        form = as_str(text)
        if form is not None:
            engines.say(f"{name} of str", form)
            engines.same(f"{name} of str {form!r}", lambda one: way(one, form), core, pure)  # noqa: B023


def decode(random: Random, engines: Engines) -> None:
    """Decode ids that may not be there or be no ids."""
    vocab = inputs.vocab(random)
    core, pure = (engine.Encoder(*vocab.arguments) for engine in (engines.core, engines.pure))
    engines.say("vocab", vocab)
    size = len(vocab.tokens)
    odd: list[Any] = [-1, size, size - 1, 2**31, 2**32 - 1, 2**32, 2**63, 2**64, -(2**63), True]
    odd += [-(2**70), Index(3), Index(size), Index("x"), Raising(), 1.0, None, "1", b"1"]
    for _ in range(20):
        ids = [random.randrange(size) for _ in range(random.randrange(20))]
        if random.random() < 0.7:
            ids.insert(random.randrange(len(ids) + 1), random.choice(odd))
        engines.say("ids", ids)
        engines.same("decode", lambda one: one.decode(ids), core, pure)  # noqa: B023


class Index:
    """An integer to `operator.index`, if `value` is one."""

    def __init__(self, value: object) -> None:
        self.value = value

    def __index__(self) -> Any:
        return self.value

    def __repr__(self) -> str:
        return f"Index({self.value!r})"


class Raising:
    """No integer, and says so its own way."""

    def __index__(self) -> int:
        raise ValueError("refused")


def train(random: Random, engines: Engines) -> None:
    """Count pretokens and learn merges, in one go or in parts."""
    specials = [name.encode() for name in random.sample(inputs.SPECIALS, random.choice((0, 1, 3)))]
    pattern = random.choice(inputs.PATTERNS)
    engines.say("pattern, specials", (pattern, specials))
    modules = (engines.core, engines.pure)
    core, pure = (module.PretokenCounter(pattern, specials) for module in modules)
    for _ in range(random.randrange(6)):
        kind = random.random()
        if kind < 0.3:  # few letters: many equal counts
            letters = random.choice((b"ab", b"ab ", b"a", b"abc \xc3\xa9"))
            text = bytes(random.choice(letters) for _ in range(random.randrange(300)))
        elif kind < 0.35:  # more than the tables hold at first
            text = inputs.text(random, specials, 20_000)
        else:
            text = inputs.some_text(random, specials)
        fresh = [module.PretokenCounter(pattern, specials) for module in modules]
        engines.same_on_text("counts of", counts_of, fresh[0], fresh[1], text)
        form = (as_str(text) if random.random() < 0.5 else None) or text
        way = random.choice(("add", "add", "merge", "add_pieces"))
        pieces = some_pieces(random, text)
        for counter, other in zip((core, pure), fresh, strict=True):
            if way == "add":
                counter.add(form)
            elif way == "add_pieces":
                counter.add_pieces(pieces)
            else:
                other.add(form)
                counter.merge(other)
                if other.counts():
                    raise MismatchError(f"after merge the other has {other.counts()}")
    counts = engines.same("counts", lambda one: one.counts(), core, pure)
    least = random.choice((1, 1, 2, 5))
    steps = [random.choice((0, 1, 3, 50, 500)) for _ in range(random.randrange(1, 5))]
    engines.say("counts, min_frequency, steps", (counts, least, steps))

    def learn(counter: Any) -> list[Any]:
        learner = counter.learner(least)
        return [[tuple(merge) for merge in learner.learn(step)] for step in steps]

    engines.same("learn", learn, core, pure)
    engines.same("counts after learner", lambda one: one.counts(), core, pure)


def some_pieces(random: Random, text: bytes) -> list[str]:
    """Return pretokens; now and then so many that training takes more than one round."""
    whole = text.decode(errors="surrogateescape")
    pieces = [whole[:7] or "a", whole[7:20] or "b", "the", " the"]
    if random.random() < 0.2:
        for _ in range(random.choice((100, 1000))):
            length = random.choice((1, 2, 5, 15, 16, 30))
            word = "".join(random.choice("abcdeé") for _ in range(length))
            pieces += [word] * random.choice((1, 1, 2, 30, 1000))
    return pieces


def counts_of(counter: Any, text: bytes) -> Any:
    """Return the counts of one text, and leave the counter empty."""
    counter.add(text)
    counts = counter.counts()
    counter.learner(1)
    return counts


def large(random: Random, engines: Engines) -> None:
    """Encode more different pretokens than the caches hold, by a vocab of single bytes alone."""
    byte_ids = list(range(256))
    random.shuffle(byte_ids)
    tokens = sorted((bytes([byte]) for byte in range(256)), key=lambda token: byte_ids[token[0]])
    pattern = random.choice(inputs.PATTERNS)
    core = engines.core.Encoder(tokens, ([], [], []), False, pattern, [])
    for length, megabytes in ((random.randrange(3, 16), 1), (random.randrange(250, 257), 12)):
        letters = random.randbytes(megabytes << 20).translate(LETTERS)
        words = [letters[i : i + length] for i in range(0, len(letters), length)]
        text = b" ".join([*words, *words[:1000]])
        engines.say("pattern, length, text", (pattern, length, text))
        expected = bytearray(2 * len(text))
        expected[sys.byteorder == "big" :: 2] = text.translate(bytes(byte_ids))
        if core.encode_packed(text, None, 2) != expected:
            raise MismatchError(f"large text, words of {length} bytes")


def threads(random: Random, engines: Engines, most: int = 4) -> None:
    """Use one encoder, and by mistake one counter, from several threads at once."""
    vocab = inputs.vocab(random)
    texts = [inputs.some_text(random, vocab.special_bytes) for _ in range(20)]
    # So long that the core lets other threads run.
    joined = b" ".join([*texts, b"end"])
    texts.append(joined * (1 + 2**14 // len(joined)))
    engines.say("vocab, texts", (vocab, texts))
    core, pure = (engine.Encoder(*vocab.arguments) for engine in (engines.core, engines.pure))
    expected = [pure.encode(text, None) for text in texts]
    counter = engines.core.PretokenCounter(vocab.pattern, vocab.special_bytes)
    other = engines.core.PretokenCounter(vocab.pattern, [])
    other.add(joined)
    learner = other.learner(1)
    wrong: list[object] = []
    start = threading.Barrier(most)

    def work() -> None:
        start.wait()
        for _ in range(3):
            if core.encode_batch(texts, None) != expected:
                wrong.append("encode_batch")
            for text, ids in zip(texts, expected, strict=True):
                if core.encode(text, None) != ids or core.count(text, None) != len(ids):
                    wrong.append(text)
                if core.decode(ids) != text:
                    wrong.append(ids)
                outcome(lambda one: one.add(text), counter)  # noqa: B023
            own = engines.core.PretokenCounter(vocab.pattern, vocab.special_bytes)
            own.add(joined)
            outcome(lambda one: one.merge(own), counter)  # noqa: B023
            outcome(lambda one: own.merge(one), counter)  # noqa: B023
            outcome(lambda one: one.counts(), counter)
            outcome(lambda one: one.learn(5), learner)

    workers = [threading.Thread(target=work) for _ in range(most)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if wrong:
        raise MismatchError(f"other answers among threads: {brief(wrong)}")
