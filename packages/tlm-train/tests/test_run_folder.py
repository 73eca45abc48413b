from pathlib import Path

import pytest
from bpe_tok import Tokenizer
from tlm_data import END_OF_TEXT, Corpus, prepare_corpus
from tlm_data.sources import local_file
from tlm_layers import ModelConfig, TransformerLM
from tlm_optim import AdamW
from tlm_train.checkpoint import write_step
from tlm_train.config import LogConfig, RunConfig
from tlm_train.run_folder import RunFolder


def prepare(tmp_path: Path, text: str) -> Corpus:
    path = tmp_path / "text.txt"
    path.write_text(text)
    files = [local_file(path)]
    tokenizer = Tokenizer.byte_level([END_OF_TEXT])
    return prepare_corpus(
        files, files, tmp_path / "data", name="x", vocab_size=257, tokenizer=tokenizer
    )


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return prepare(tmp_path, "some text")


@pytest.fixture
def run(tmp_path: Path, corpus: Corpus) -> RunFolder:
    return RunFolder.create(tmp_path / "run", RunConfig(), corpus)


def test_what_is_made_is_what_is_opened(run: RunFolder) -> None:
    again, config = RunFolder.open(run.path)
    assert again == run and config == RunConfig()
    assert Tokenizer.load(run.tokenizer).vocab_size == 257


def test_the_folders_own_name_is_not_in_its_config(tmp_path: Path, corpus: Corpus) -> None:
    config = RunConfig(log=LogConfig(run_dir=tmp_path / "named"))
    run = RunFolder.create(tmp_path / "named", config, corpus)
    assert RunFolder.open(run.path)[1].log.run_dir is None


def test_a_run_keeps_to_its_corpus(tmp_path: Path, run: RunFolder, corpus: Corpus) -> None:
    found = run.find_corpus()
    assert found is not None and found.fingerprints == corpus.fingerprints
    with pytest.raises(ValueError, match=r"the training text of .* is not what .* began with"):
        run.require_corpus(prepare(tmp_path, "other text"))
    corpus.path.rename(tmp_path / "away")
    assert run.find_corpus() is None


def test_a_second_process_is_refused(run: RunFolder) -> None:
    refused = pytest.raises(ValueError, match="another process is training in")
    with run.locked(), refused, run.locked():
        pass
    with run.locked():
        pass


def test_what_a_kill_left_is_swept(run: RunFolder) -> None:
    (run.checkpoints / ".step-00000005.12345678").mkdir()
    with run.locked():
        assert list(run.checkpoints.iterdir()) == []


def test_a_folder_that_exists_is_refused(run: RunFolder, corpus: Corpus) -> None:
    with pytest.raises(FileExistsError, match=r"exists already: .*tlm-train resume"):
        RunFolder.create(run.path, RunConfig(), corpus)


def test_runs_without_a_name_never_meet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, corpus: Corpus
) -> None:
    monkeypatch.chdir(tmp_path)
    runs = [RunFolder.create(None, RunConfig(), corpus) for _ in range(3)]
    assert len({run.path for run in runs}) == 3
    assert all(run.path.parent == Path("runs") for run in runs)


def test_what_is_not_a_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none is not a run: there is no such folder"):
        RunFolder.open(tmp_path / "none")
    with pytest.raises(ValueError, match=r"a is not a run: it is a file"):
        (tmp_path / "a").touch()
        RunFolder.open(tmp_path / "a")
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
