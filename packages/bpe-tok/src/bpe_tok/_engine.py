"""The engine: `bpe_tok._core` in C++ if it was built, else its twin `bpe_tok._pure`.

All else in this package takes `implementation` from here. The environment variable
`BPE_TOK_ENGINE` overrides the choice: `auto` (as said), `core` or `pure`.
"""

import os
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

__all__ = ["choose", "implementation", "name"]

if TYPE_CHECKING:
    from bpe_tok import _core as implementation

    name: str


def choose(wanted: str) -> tuple[str, ModuleType]:
    """Import an engine.

    Args:
        wanted: "auto", "core" or "pure".

    Returns:
        Its name, "core" or "pure", and the module.

    Raises:
        ValueError: if `wanted` is anything else.
        ImportError: if the core is wanted and was not built.
    """
    if wanted not in ("auto", "core", "pure"):
        raise ValueError(f"BPE_TOK_ENGINE={wanted!r} must be auto, core or pure")
    if wanted != "pure":
        try:
            _core = import_module("bpe_tok._core")
        except ImportError as error:
            if wanted == "core":
                raise ImportError(
                    f"BPE_TOK_ENGINE=core, but the core cannot be imported ({error}); reinstall "
                    "bpe-tok from source where there is a C++ compiler, with BPE_TOK_BUILD=require "
                    "to see what the compiler says, or set BPE_TOK_ENGINE=pure"
                ) from error
        else:
            return "core", _core
    from bpe_tok import _pure

    return "pure", _pure


if not TYPE_CHECKING:
    name, implementation = choose(os.environ.get("BPE_TOK_ENGINE") or "auto")
