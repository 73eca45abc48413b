"""What a run measures: rows in `metrics.jsonl`, the same rows in Weights & Biases.

Each row has `step`, `tokens`, `epochs` and `elapsed_seconds`, and what was measured then:
`train_loss, lr, grad_norm, step_seconds, tokens_per_second, memory_bytes` of a training step, or
`val_loss, perplexity, bits_per_byte, sample` of an evaluation.
"""

import json
import os
from pathlib import Path
from typing import Any

import psutil
import torch
from tlm_data import atomic

from tlm_train.wandb_log import WandbLog

Row = dict[str, Any]


class MetricsLog:
    """Appends rows to files, line by line as they come, and hands them to Weights & Biases.

    Args:
        metrics: `metrics.jsonl`; what it holds up to `step` is kept, and the rest, which a
            resumed run measures again, is dropped.
        samples: `samples.txt`, the samples of these rows as text.
        step: The step that the run goes on from.
        wandb: Gets each row as well.
    """

    def __init__(
        self, metrics: Path, samples: Path, step: int, wandb: WandbLog | None = None
    ) -> None:
        rows = [row for row in read_metrics(metrics) if row["step"] <= step]
        atomic.write_file(metrics, "".join(json.dumps(row) + "\n" for row in rows))
        atomic.write_file(samples, "".join(map(_sample_text, rows)))
        self._metrics = metrics.open("a", encoding="utf-8")
        self._samples = samples.open("a", encoding="utf-8")
        self._wandb = wandb

    def log(self, row: Row) -> None:
        """Add a row."""
        self._metrics.write(json.dumps(row) + "\n")
        self._metrics.flush()
        self._samples.write(_sample_text(row))
        self._samples.flush()
        if self._wandb is not None:
            self._wandb.log(row)

    def close(self) -> None:
        """Close the files and end the Weights & Biases run."""
        self._metrics.close()
        self._samples.close()
        if self._wandb is not None:
            self._wandb.finish()


def read_metrics(path: Path) -> list[Row]:
    """Read the rows of a metrics file; a last line that was cut off by a kill is left out.

    Raises:
        ValueError: Another line is damaged; the message has the file and the line.
    """
    if not path.exists():
        return []
    *lines, _ = path.read_text(encoding="utf-8").split("\n")
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if not isinstance(row, dict) or not isinstance(row.get("step"), int):
            raise ValueError(f"{path}, line {number} is damaged: mend it or remove it")
        rows.append(row)
    return rows


def _sample_text(row: Row) -> str:
    if "sample" not in row:
        return ""
    return f"--- step {row['step']}, validation loss {row['val_loss']:.3f}\n{row['sample']}\n\n"


def memory_bytes(device: torch.device) -> int:
    """Return the memory in use: the process's resident memory, or on a GPU its peak there."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return int(psutil.Process(os.getpid()).memory_info().rss)
