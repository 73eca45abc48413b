"""What an editable install leaves in the source tree."""

from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1]


def test_the_core_is_compiled_from_the_sources_as_they_are() -> None:
    core = pytest.importorskip("bpe_tok._core", exc_type=ImportError)
    extension = Path(core.__file__)
    if not extension.is_relative_to(PACKAGE):
        pytest.skip("not an editable install")
    sources = [*PACKAGE.glob("core/*.[ch]pp"), PACKAGE / "hatch_build.py"]
    newest = max(sources, key=lambda path: path.stat().st_mtime)
    assert newest.stat().st_mtime <= extension.stat().st_mtime, (
        f"{newest.name} was changed after the core was compiled: hatch run core"
    )
