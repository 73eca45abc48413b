"""The class of each character, written as a character that stands for the class.

The patterns ask of a character only whether it is a letter of lower or upper case or of none, a
mark, a number or white space. So text is rewritten for them: what is ASCII stays, and every other
character becomes the stand-in of its class. The result is as long as the text, and the standard
library's `re` finds the pretokens in it by short sets of characters.
"""

import re
from bisect import bisect_right

from bpe_tok._pure.unicode_classes import RANGES

OTHER, MARK, NUMBER, SPACE = "\x80", "\x81", "\x82", "\x83"
CASELESS, UPPER, LOWER = "\x84", "\x85", "\x86"
# "ſ" is a letter of lower case and, where case is ignored, an "s".
LONG_S = "\x87"

_STAND_INS = (OTHER, LOWER, UPPER, CASELESS, MARK, NUMBER, SPACE)
_FIRST_CODES = [first for first, _, _ in RANGES]


class _StandIns(dict[int, str]):
    """The stand-in of each code point outside ASCII, looked up once."""

    def __missing__(self, code: int) -> str:
        _, last, char_class = RANGES[bisect_right(_FIRST_CODES, code) - 1]
        stand_in = self[code] = _STAND_INS[char_class] if code <= last else OTHER
        return stand_in


# U+0080 lies before the first range.
_stand_ins = _StandIns(dict.fromkeys(range(0x80, _FIRST_CODES[0]), OTHER))
_stand_ins[0x17F] = LONG_S
_replace_runs = re.compile(r"[^\x00-\x7f]+").sub


def _run_classes(run: re.Match[str]) -> str:
    return run[0].translate(_stand_ins)


def classes_of(text: str) -> str:
    r"""Write the stand-in of its class for each character outside ASCII.

    >>> classes_of("Être ²")
    '\x85tre \x82'
    """
    return text if text.isascii() else _replace_runs(_run_classes, text)
