"""Write bpe-tok's table of Unicode classes, for both of its engines.

    pip install unicodedata2==16.0.0
    python tools/unicode_classes.py

The version of Unicode is a part of what a tokenizer is: another table cuts another text. So
bpe-tok has its own table, and does not follow whatever version Python or `regex` happens to have.
16.0 is the version of tiktoken 0.14.
"""

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import unicodedata2

PACKAGE = Path(__file__).parents[1] / "packages" / "bpe-tok"
CLASSES = {
    **dict.fromkeys(["Ll"], 1),
    **dict.fromkeys(["Lu", "Lt"], 2),
    **dict.fromkeys(["Lm", "Lo"], 3),
    **dict.fromkeys(["Mn", "Mc", "Me"], 4),
    **dict.fromkeys(["Nd", "Nl", "No"], 5),
}
SPACE = 6
# The property White_Space, which unicodedata does not tell; unchanged since Unicode 6.3.
SPACES = {0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000}
PAGE = 256


def class_of(code_point: int) -> int:
    """Return the class of a code point outside ASCII."""
    if code_point in SPACES:
        return SPACE
    return CLASSES.get(unicodedata2.category(chr(code_point)), 0)


def ranges(classes: list[int]) -> Iterator[tuple[int, int, int]]:
    """Yield (first, last, class) of all code points outside ASCII that have one."""
    for value, run in groupby(range(0x80, len(classes)), classes.__getitem__):
        places = list(run)
        if value:
            yield places[0], places[-1], value


def lines(values: list[str], width: int = 96) -> Iterator[str]:
    """Join values with commas into lines."""
    line = ""
    for value in values:
        if len(line) + len(value) + 2 > width:
            yield line.rstrip()
            line = ""
        line += value + ", "
    yield line.rstrip()


def main() -> None:
    """Write the two files."""
    version = unicodedata2.unidata_version
    classes = [0] * 0x80 + [class_of(code_point) for code_point in range(0x80, 0x110000)]

    values = [f"({first:#x}, {last:#x}, {value})" for first, last, value in ranges(classes)]
    python = [
        '"""The classes of code points outside ASCII; written by tools/unicode_classes.py."""',
        "",
        f'UNICODE_VERSION = "{version}"',
        '"""The version of Unicode that decides what is a letter, a number and a space."""',
        "",
        "RANGES = (",
        *(f"    {line}" for line in lines(values)),
        ")",
        '"""First and last code point and class: 1 lower case, 2 upper or title case, 3 letter',
        'without case, 4 mark, 5 number, 6 white space. All others are of class 0."""',
        "",
    ]
    target = PACKAGE / "src" / "bpe_tok" / "_pure" / "unicode_classes.py"
    target.write_text("\n".join(python), encoding="utf-8")

    pages: dict[tuple[int, ...], int] = {}
    starts = range(0, len(classes), PAGE)
    index = [pages.setdefault(tuple(classes[start : start + PAGE]), len(pages)) for start in starts]
    cpp = [
        "// The classes of code points; written by tools/unicode_classes.py.",
        "#pragma once",
        "",
        "#include <cstdint>",
        "",
        "namespace bpe_tok {",
        "",
        f"// Unicode {version}. The page of a code point is kClassPage[code_point >> 8]; ASCII is",
        "// not in the table (its classes are in characters.hpp).",
        f"constexpr uint8_t kClassPage[{len(index)}] = {{",
        *(f"    {line}" for line in lines(list(map(str, index)))),
        "};",
        "",
        f"constexpr uint8_t kClassOf[{len(pages)}][{PAGE}] = {{",
        *(
            f"    {{{text}}},"
            for page in pages
            for text in ["\n     ".join(lines(list(map(str, page))))]
        ),
        "};",
        "",
        "}  // namespace bpe_tok",
        "",
    ]
    (PACKAGE / "core" / "unicode_classes.hpp").write_text("\n".join(cpp), encoding="utf-8")
    print(f"Unicode {version}: {len(values)} ranges, {len(pages)} pages")


if __name__ == "__main__":
    main()
