from pathlib import Path

import pytest
from bpe_tok import Tokenizer
from tlm_layers import ModelConfig, TransformerLM
from tlm_optim import AdamW
from tlm_train.checkpoint import write_step
from tlm_train.config import RunConfig
from tlm_train.run_folder import RunFolder


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path / "run", RunConfig(), Tokenizer.byte_level())


def test_what_is_made_is_what_is_opened(run: RunFolder) -> None:
    again, config = RunFolder.open(run.path)
    assert again == run and config == RunConfig()
    assert Tokenizer.load(run.tokenizer).vocab_size == 256


def test_a_folder_that_exists_is_refused(run: RunFolder) -> None:
    with pytest.raises(FileExistsError, match=r"exists already: .*tlm-train resume"):
        RunFolder.create(run.path, RunConfig(), Tokenizer.byte_level())


def test_runs_without_a_name_never_meet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    runs = [RunFolder.create(None, RunConfig(), Tokenizer.byte_level()) for _ in range(3)]
    assert len({run.path for run in runs}) == 3
    assert all(run.path.parent == Path("runs") for run in runs)


def test_what_is_not_a_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none is not a run: there is no such folder"):
        RunFolder.open(tmp_path / "none")
    with pytest.raises(ValueError, match=r"is not a run: config\.toml is missing"):
        RunFolder.open(tmp_path)


def test_damaged_checkpoints_are_passed_over_and_named(run: RunFolder) -> None:
    assert run.latest_checkpoint() == (None, [])
    model = TransformerLM(ModelConfig(vocab_size=9, d_model=8, num_layers=1, num_heads=1, d_ff=8))
    optimizer = AdamW(model.parameters())
    for step in (5, 10, 15):
        write_step(run.checkpoints / f"step-{step:08d}", model, optimizer, {"step": step})
    assert run.latest_checkpoint() == (run.checkpoints / "step-00000015", [])
    (run.checkpoints / "step-00000015" / "manifest.json").unlink()
    with (run.checkpoints / "step-00000010" / "model.safetensors").open("r+b") as file:
        file.write(b"\x00")
    latest, passed_over = run.latest_checkpoint()
    assert latest == run.checkpoints / "step-00000005"
    assert len(passed_over) == 2
    assert "step-00000015" in passed_over[0] and "model.safetensors" in passed_over[1]
