"""Random texts and vocabularies, made to meet what the core treats specially.

All of it follows from a `random.Random`, so a seed and a number give the same input again.
"""

from dataclasses import dataclass
from random import Random
from typing import Any

from bpe_tok._pure.unicode_classes import RANGES

PATTERNS = ("gpt2", "cl100k", "o200k", "llama3", "qwen2")
# Where blocks, keys and buffers of a core may end.
EDGES = [edge + by for edge in (1, 8, 16, 32, 64, 128, 256, 1024) for by in (-1, 0, 1)]
WORDS = """the The THE don't we'll I'm it'S x'LL 've 're d' HTTPServer iPhone a I 0 12 123 1234567
    3.14 x_y __init__ naïve 日本語 Straße ǅungla 한국어 ²³ Ⅷ""".split()  # noqa: SIM905
WORDS += ["e\u0301", "न\u093fम\u0938\u094dते", "\u0660\u0661"]
MARKS = """. , !? ... ' '' // ( )]} # € 👍🏽 👩‍👩‍👧 's's 'l 'v /""".split()  # noqa: SIM905
MARKS += ["\u2019s", "'\u017f", "\u017f", "/\n", "\0", "\x7f", "\ufeff", "\ufffd", "\u200d"]
SPACES = [*" \t\n\r\x0b\x0c\x1c\x85\xa0\u3000\u2028\u1680", " ", " ", "  ", "   ", "\r\n", "\n\n"]
SPACES += [" \n", "\n ", "\u2007 "]
STRAYS = [b"\x80", b"\xbf\xbf", b"\xc0\x80", b"\xc3", b"\xe2\x82", b"\xed\xa0\x80", b"\xf0\x9f\x98"]
STRAYS += [b"\xf4\x90\x80\x80", b"\xf8\x88\x80\x80\x80", b"\xff", b"\xfe\xff", b"\xe0\x80\xaf"]


def character(random: Random) -> str:
    """Return any character, most often one at the edge of a range of a class."""
    if random.random() < 0.2:
        code_point = random.randrange(0x110000)
    else:
        first, last, _ = random.choice(RANGES)
        code_point = random.choice((first, last)) + random.choice((-1, 0, 0, 1))
    return "?" if 0xD800 <= code_point < 0xE000 else chr(min(code_point, 0x10FFFF))


def text(random: Random, specials: list[bytes], most: int = 40) -> bytes:
    """Return UTF-8 text of up to `most` pieces: words, spaces, marks, runs, special tokens."""
    pieces: list[bytes] = []
    for _ in range(random.randrange(most + 1)):
        kind = random.randrange(12)
        if kind < 4:
            pieces.append(random.choice(WORDS).encode())
        elif kind < 7:
            pieces.append(random.choice(SPACES).encode())
        elif kind == 7:
            pieces.append(random.choice(MARKS).encode())
        elif kind == 8:
            pieces.append("".join(character(random) for _ in range(random.randrange(4))).encode())
        elif kind == 9 and specials:
            special = random.choice(specials)
            pieces.append(special if random.random() < 0.7 else cut(random, special))
        elif kind == 10 and random.random() < 0.3:
            unit = random.choice([*WORDS, *SPACES, *MARKS, character(random)])
            pieces.append(unit.encode() * random.choice(EDGES))
        else:
            pieces.append(bytes([random.randrange(0x20, 0x7F)]))
    return b"".join(pieces)


def cut(random: Random, special: bytes) -> bytes:
    """Return the beginning of a special token, in whole characters."""
    whole = special.decode()
    return whole[: random.randrange(len(whole) + 1)].encode()


def any_bytes(random: Random, specials: list[bytes]) -> bytes:
    """Return bytes that need not be UTF-8."""
    content = bytearray(text(random, specials) if random.random() < 0.8 else b"")
    for _ in range(random.randrange(6)):
        place = random.randrange(len(content) + 1)
        content[place:place] = random.choice(STRAYS)
    if random.random() < 0.3:
        content += random.randbytes(random.randrange(200))
    return bytes(content)


def some_text(random: Random, specials: list[bytes]) -> bytes:
    """Return text that is UTF-8 more often than not."""
    return (text if random.random() < 0.6 else any_bytes)(random, specials)


@dataclass
class Vocab:
    """The arguments of an `Encoder`."""

    tokens: list[bytes | None]
    merges: tuple[list[int], list[int], list[int]] | None
    ignore_merges: bool
    pattern: str
    specials: list[tuple[bytes, int]]

    @property
    def arguments(self) -> tuple[object, ...]:
        """The arguments in order."""
        return (self.tokens, self.merges, self.ignore_merges, self.pattern, self.specials)

    @property
    def special_bytes(self) -> list[bytes]:
        """The special tokens in order."""
        return [special for special, _ in self.specials]


SPECIALS = "<|endoftext|> <|end|> <|end|><|end|> <| |> été ab abc 日 👍 <s> </s> 's 1".split()  # noqa: SIM905
SPECIALS += ["\n\n", " ", "\0", "<|endoftext|><|endoftext|>"]


def vocab(random: Random) -> Vocab:
    """Return a vocab that is in order: each byte has a token, each merge makes one."""
    specials = [name.encode() for name in random.sample(SPECIALS, random.choice((0, 1, 1, 3, 6)))]
    words = dict.fromkeys(bytes([byte]) for byte in range(256))
    splits: dict[tuple[bytes, bytes], None] = {}
    by_rule = random.random() < 0.3
    source = any_bytes(random, []) + text(random, [], 200)
    for _ in range(random.choice((0, 1, 5, 40, 200))):
        length = random.choice((2, 2, 2, 3, 3, 4, 6, 9, 17, 40))
        start = random.randrange(len(source) + 1)
        add_word(random, source[start : start + length], words, splits, specials)
    if random.random() < 0.3:  # tokens that no merge makes
        for _ in range(random.randrange(10)):
            start = random.randrange(len(source) + 1)
            word = source[start : start + random.randrange(1, 30)]
            if word and word not in specials:
                words[word] = None
    pairs = list(splits)
    if random.random() < 0.2:
        random.shuffle(pairs)
    # Ids in any order, with gaps.
    ordered: list[bytes | None] = [*words, *(name for name in specials if name not in words)]
    if random.random() < 0.5:
        random.shuffle(ordered)
    if random.random() < 0.3:
        for _ in range(random.randrange(1, 50)):
            ordered.insert(random.randrange(len(ordered)), None)
    if random.random() < 0.1:  # past what 16 bits hold
        ordered[:0] = [None] * random.choice((0xFF00, 0xFFFF - len(ordered), 0x10000))
    ids = {token: number for number, token in enumerate(ordered) if token is not None}
    merges: Any = None
    if not by_rule:
        sides = [(ids[left], ids[right], ids[left + right]) for left, right in pairs]
        merges = tuple([side[part] for side in sides] for part in range(3))
    pattern = random.choice(PATTERNS)
    ignore_merges = by_rule or random.random() < 0.3
    return Vocab(ordered, merges, ignore_merges, pattern, [(name, ids[name]) for name in specials])


def add_word(
    random: Random,
    word: bytes,
    words: dict[bytes, None],
    splits: dict[tuple[bytes, bytes], None],
    specials: list[bytes],
) -> bool:
    """Add a word and what it is made of, cut at random places; return whether it is a token."""
    if len(word) == 1:
        return True
    if not word or word in specials:
        return False
    place = random.randrange(1, len(word))
    split = (word[:place], word[place:])
    if word in words and (random.random() < 0.9 or split in splits):
        return True
    if not all(add_word(random, part, words, splits, specials) for part in split):
        return False
    splits[split] = words[word] = None
    return True


def damaged(random: Random, good: Vocab) -> Vocab:
    """Return the vocab with something wrong in it, or nearly."""
    tokens: Any = list(good.tokens)
    merges: Any = None if good.merges is None else tuple(list(side) for side in good.merges)
    specials: list[Any] = list(good.specials)
    pattern: Any = good.pattern
    size = len(tokens)
    odd: list[Any] = [
        -1,
        0,
        size - 1,
        size,
        2**31,
        2**32,
        2**63,
        2**64,
        10**30,
        random.randrange(size),
    ]
    odd += [True, None, "1", 1.5, b"a"]
    what = random.randrange(11)
    if what == 0:
        tokens[random.randrange(size)] = random.choice((None, b"", b"a", b"ab", b"\n\n", "a", 7))
    elif what < 4 and merges and merges[0]:
        for _ in range(random.choice((1, 1, 5))):
            place = random.randrange(len(merges[0]))
            if what == 1:
                random.choice(merges)[place] = random.choice(odd)
            elif what == 2:
                random.choice(merges).insert(place, random.choice(odd))
            else:
                for side in merges:
                    side.append(side[place])
    elif what == 4:
        del tokens[random.randrange(size) :]
    elif what == 5:
        specials.append(
            (random.choice((b"", b"a", b"<x>", "x", b"\xff", None)), random.choice(odd))
        )
    elif what == 6:
        specials += specials[:1] or [random.choice(((), (b"a",), (b"a", 0, 1), b"ab", "ab", None))]
    elif what == 7:
        pattern = random.choice(("", "GPT2", "gpt2\0", "\ud800", None, 5, "[a-z]+"))
    elif what == 8:
        merges = random.choice((None, ([], [], []), ([], []), (), [[], [], []], 3, "abc"))
    elif what == 9:
        merges = random.choice((((1,), (2,), (3,)), ([1], [2]), (1, 2, 3), ([[]], [[]], [[]])))
    else:
        others = [[], tokens[::-1], [b"a"] * 256, tuple(tokens), tokens * 2]
        tokens = random.choice([*others, None, b"abc", iter("ab")])
    return Vocab(tokens, merges, good.ignore_merges, pattern, specials)


Mappings = tuple[dict[int, bytes], list[tuple[bytes, bytes]] | None]


def damaged_mappings(random: Random, good: Vocab) -> Mappings:
    """Return vocab and merges as a `Tokenizer` takes them, with something wrong, or nearly."""
    vocab = {number: token for number, token in enumerate(good.tokens) if token is not None}
    merges = None
    if good.merges is not None:
        sides = zip(good.merges[0], good.merges[1], strict=True)
        merges = [(vocab[left], vocab[right]) for left, right in sides]
    ids = list(vocab)
    what = random.randrange(7)
    if what == 0:
        del vocab[random.choice(ids)]
    elif what == 1:
        vocab[random.choice(ids)] = random.choice((b"", b"a", b"ab", b"\n\n", vocab[ids[-1]]))
    elif what == 2:
        new = random.choice((-1, max(ids) + 1, max(ids) + 70_000, 2**31, 2**32, 2**64))
        vocab[new] = random.choice((b"new", b"a", vocab.pop(random.choice(ids))))
    elif merges:
        place = random.randrange(len(merges))
        if what == 3:
            merges.append(merges[place])
        elif what == 4:
            merges[place] = merges[place][::-1]
        elif what == 5:
            merges[place] = (random.choice((b"", b"a", merges[place][1])), merges[place][0])
        else:
            del merges[place]
    return vocab, merges


def damaged_bytes(random: Random, content: bytes) -> bytes:
    """Return the bytes with some changed, added, repeated or cut off."""
    changed = bytearray(content)
    for _ in range(random.choice((1, 1, 2, 8))):
        place = random.randrange(len(changed) + 1)
        end = place + random.choice((1, 1, 2, 10, 100))
        what = random.randrange(5)
        if what == 0:
            changed[place:end] = b""
        elif what == 1:
            changed[place:place] = changed[place:end]
        elif what == 2:
            junk = (b"0", b"-1", b"null", b'"', b"\xff", b"[", b"]", b" ", b"\n", b"9" * 20)
            changed[place:end] = random.choice(junk)
        elif what == 3:
            changed[place : place + 1] = random.randbytes(1)
        elif random.random() < 0.2:
            del changed[place:]
    return bytes(changed)
