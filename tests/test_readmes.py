"""What the READMEs show is what happens."""

import doctest
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
READMES = sorted([*ROOT.glob("packages/*/README.md"), ROOT / "README.md"])
PRINTS = re.compile(r"```python\n((?:(?!```).)*)```\n+prints\n+```\n(.*?)```", re.DOTALL)
NUMBER = re.compile(r"\d+\.\d+")


def examples() -> list[tuple[str, str, str]]:
    return [
        (readme.parent.name, code, output)
        for readme in READMES
        for code, output in PRINTS.findall(readme.read_text(encoding="utf-8"))
    ]


@pytest.mark.parametrize(("name", "code", "output"), examples())
def test_examples_print_what_they_say(tmp_path: Path, name: str, code: str, output: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    # Processors round differently, so numbers with a fraction are near and all else is equal.
    assert NUMBER.sub("#", done.stdout.strip()) == NUMBER.sub("#", output.strip())
    found, expected = NUMBER.findall(done.stdout), NUMBER.findall(output)
    assert [float(n) for n in found] == pytest.approx([float(n) for n in expected], rel=0.2)


@pytest.mark.parametrize(
    "readme",
    [*READMES, ROOT / "docs" / "bpe.md", ROOT / "docs" / "transformer.md"],
    ids=lambda path: f"{path.parent.name}-{path.stem}",
)
def test_sessions_answer_what_they_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, readme: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    results = doctest.testfile(
        str(readme), module_relative=False, encoding="utf-8", optionflags=doctest.ELLIPSIS
    )
    assert results.failed == 0


def test_the_test_command_and_the_first_command_are_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for command in (
        "python3 -m venv .venv && .venv/bin/pip install hatch && .venv/bin/hatch run tlm-train",
        ".venv/bin/hatch run test",
        "pip install ./packages/bpe-tok",
    ):
        assert f"\n{command}\n" in readme


def test_there_is_something_to_check() -> None:
    assert {name for name, _, _ in examples()} >= {"tlm-layers", "tlm-optim", "tlm-data"}


def test_links_lead_somewhere() -> None:
    for readme in READMES:
        for target in re.findall(r"\]\(([^)#]+)\)", readme.read_text(encoding="utf-8")):
            assert target.startswith("http") or (readme.parent / target).exists(), (readme, target)
