import json
from pathlib import Path

import psutil
import pytest
import torch
from tlm_train.metrics import MetricsLog, memory_bytes, read_metrics

TRAIN = {"step": 1, "train_loss": 2.5}
EVALUATION = {"step": 2, "val_loss": 2.25, "sample": 'def f():\n    "漢"\n'}


def test_rows_come_back_and_samples_are_readable(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl", tmp_path / "samples.txt", step=0)
    log.log(TRAIN)
    assert read_metrics(tmp_path / "metrics.jsonl") == [TRAIN]
    log.log(EVALUATION)
    log.close()
    assert read_metrics(tmp_path / "metrics.jsonl") == [TRAIN, EVALUATION]
    text = (tmp_path / "samples.txt").read_text(encoding="utf-8")
    assert text == '--- step 2, validation loss 2.250\ndef f():\n    "漢"\n\n\n'


def test_a_resumed_run_drops_what_it_measures_again(tmp_path: Path) -> None:
    path, samples = tmp_path / "metrics.jsonl", tmp_path / "samples.txt"
    rows = [TRAIN, EVALUATION, {"step": 3, "train_loss": 2.0}, {"step": 4, "val_loss": 2.0}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"step": 5, "tr')
    samples.write_text("anything")
    MetricsLog(path, samples, step=2).close()
    assert read_metrics(path) == [TRAIN, EVALUATION]
    assert samples.read_text(encoding="utf-8").startswith("--- step 2,")


@pytest.mark.parametrize("line", ["garbage", "{}", "[1]", '{"step": "1"}'])
def test_a_damaged_line_in_the_middle_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(f'{{"step": 1}}\n{line}\n{{"step": 3}}\n')
    with pytest.raises(ValueError, match=r"metrics\.jsonl, line 2 is damaged"):
        MetricsLog(path, tmp_path / "samples.txt", step=9)
    assert path.read_text().count("\n") == 3


def test_no_file_has_no_rows(tmp_path: Path) -> None:
    assert read_metrics(tmp_path / "none.jsonl") == []


def test_memory_grows_with_what_is_held() -> None:
    cpu = torch.device("cpu")
    before = memory_bytes(cpu)
    held = torch.ones(16, 1 << 20)
    assert memory_bytes(cpu) - before > 0.8 * held.numel() * 4
    assert memory_bytes(cpu) == pytest.approx(psutil.Process().memory_info().rss, rel=0.05)
