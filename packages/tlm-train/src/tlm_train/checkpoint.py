"""Checkpoints: a portable single file, and the folder that a run resumes from.

A run's checkpoint is a folder `step-00000500` with `model.safetensors`,
`optim.safetensors`, `trainer.json` and `manifest.json`, which holds the size and SHA-256 of
the others. It appears under its name only when it is complete. Nothing is loaded by unpickling.
"""

import base64
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from tlm_data import atomic
from tlm_data.checksum import sha256_file

MANIFEST = "manifest.json"


class CheckpointError(ValueError):
    """A checkpoint is missing, damaged, or of another model."""


def save_checkpoint(
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    iteration: int,
    out: str | os.PathLike[str] | IO[bytes],
) -> None:
    """Save model, optimizer and iteration as one file, as the CS336 course defines it.

    Args:
        model: Its state dict is saved.
        optimizer: Its state dict is saved.
        iteration: Steps done.
        out: A path, replaced only when the new file is complete, or a file open for writing.
    """
    state = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "iteration": iteration,
    }
    if not isinstance(out, (str, os.PathLike)):
        torch.save(state, out)
        return
    path = Path(out)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        temporary = Path(folder) / path.name
        with _write_errors(path):
            torch.save(state, temporary)
        atomic.fsync_path(temporary)
        temporary.replace(path)
    atomic.fsync_path(path.parent)


def load_checkpoint(
    src: str | os.PathLike[str] | IO[bytes],
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer | None = None,
) -> int:
    """Restore what `save_checkpoint` saved, and return its iteration.

    Only tensors and plain values are read (`weights_only=True`), onto the CPU first, so that a
    checkpoint from another device loads.

    Args:
        src: A path or a file open for reading.
        model: Takes the saved weights.
        optimizer: Takes the saved state; None to load the weights alone.

    Raises:
        CheckpointError: The file is damaged, is no checkpoint, or is one of another model.
    """
    name = src if isinstance(src, (str, os.PathLike)) else getattr(src, "name", "the file")
    try:
        state = torch.load(src, map_location="cpu", weights_only=True)
    except (FileNotFoundError, IsADirectoryError, PermissionError):
        raise
    except Exception as error:  # damaged bytes make the reader fail in many ways
        raise CheckpointError(f"{name} is not a readable checkpoint: {_one_line(error)}") from None
    if not isinstance(state, dict) or not {"model", "optimizer", "iteration"} <= state.keys():
        raise CheckpointError(f"{name} is not a checkpoint: it lacks model, optimizer, iteration")
    try:
        model.load_state_dict(state["model"])
        if optimizer is not None:
            optimizer.load_state_dict(state["optimizer"])
        return int(state["iteration"])
    except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{name} does not fit the model: {_one_line(error)}") from None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


@contextmanager
def _write_errors(path: Path) -> Iterator[None]:
    """Turn what torch and safetensors raise when a write fails into an OSError with the path."""
    try:
        yield
    except (RuntimeError, SafetensorError) as error:
        raise OSError(f"cannot write the checkpoint {path}: {_one_line(error)}") from error


def write_step(
    folder: Path,
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    trainer_state: dict[str, Any],
) -> None:
    """Write a run's checkpoint folder.

    Args:
        folder: Its name; a folder of that name, which a resumed run has passed over as damaged,
            is replaced.
        model: Its parameters and persistent buffers go to `model.safetensors`.
        optimizer: Per-parameter state goes to `optim.safetensors`, keyed by the parameter's
            name in the model; settings of its groups go to `trainer.json`.
        trainer_state: JSON values to restore beside them.
    """
    names = _names(model, optimizer)
    state = optimizer.state_dict()
    moments = {
        f"{names[index]}.{key}": value.contiguous()
        for index, entry in state["state"].items()
        for key, value in entry.items()
    }
    trainer = {
        **trainer_state,
        "param_groups": state["param_groups"],
        "torch_rng": base64.b64encode(bytes(torch.get_rng_state().tolist())).decode(),
    }
    if folder.exists():
        shutil.rmtree(folder)
    with atomic.new_folder(folder) as temporary, _write_errors(folder):
        save_file(
            {name: value.contiguous() for name, value in model.state_dict().items()},
            temporary / "model.safetensors",
        )
        save_file(moments, temporary / "optim.safetensors")
        (temporary / "trainer.json").write_text(json.dumps(trainer, indent=2) + "\n")
        manifest = {
            file.name: {"bytes": file.stat().st_size, "sha256": sha256_file(file)}
            for file in sorted(temporary.iterdir())
        }
        (temporary / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")


def read_step(
    folder: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer | None = None
) -> dict[str, Any]:
    """Restore a run's checkpoint folder; nothing is touched unless every file is whole.

    Args:
        folder: The checkpoint.
        model: Takes the weights.
        optimizer: Takes its state and, with it, the random number generator is restored; None to
            load the weights alone.

    Returns:
        The `trainer_state` that `write_step` was given.

    Raises:
        CheckpointError: A file is missing or differs from the manifest, or the weights are those
            of another model.
    """
    check_step(folder)
    try:
        trainer: dict[str, Any] = json.loads((folder / "trainer.json").read_text())
        model.load_state_dict(load_file(folder / "model.safetensors"))
        if optimizer is None:
            return trainer
        names = _names(model, optimizer)
        positions = {name: index for index, name in enumerate(names)}
        state: dict[int, dict[str, torch.Tensor]] = {}
        for key, value in load_file(folder / "optim.safetensors").items():
            name, _, entry = key.rpartition(".")
            state.setdefault(positions[name], {})[entry] = value
        optimizer.load_state_dict({"state": state, "param_groups": trainer["param_groups"]})
    except (RuntimeError, KeyError, ValueError, SafetensorError) as error:
        raise CheckpointError(f"{folder} does not fit: {_one_line(error)}") from None
    rng = base64.b64decode(trainer["torch_rng"])
    torch.set_rng_state(torch.tensor(list(rng), dtype=torch.uint8))
    return trainer


def check_step(folder: Path) -> None:
    """Compare every file of a checkpoint with its manifest.

    Raises:
        CheckpointError: One is missing or differs; the message names it.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        expected = {name: (entry["bytes"], entry["sha256"]) for name, entry in manifest.items()}
    except FileNotFoundError:
        raise CheckpointError(f"{folder} is not a checkpoint: {MANIFEST} is missing") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise CheckpointError(f"{folder / MANIFEST} is damaged") from None
    for name, (size, sha256) in expected.items():
        file = folder / name
        if not file.is_file():
            raise CheckpointError(f"{file} is missing")
        if file.stat().st_size != size:
            raise CheckpointError(f"{file} has {file.stat().st_size} bytes instead of {size}")
        if sha256_file(file) != sha256:
            raise CheckpointError(f"{file} is damaged: its SHA-256 is not the manifest's")


def step_folder(checkpoints: Path, step: int) -> Path:
    """Return the name of the checkpoint of a step."""
    return checkpoints / f"step-{step:08d}"


def steps_on_disk(checkpoints: Path) -> list[Path]:
    """List a run's checkpoint folders, oldest first, whole or not."""
    return sorted(checkpoints.glob("step-[0-9]*"))


def remove_unfinished(checkpoints: Path) -> None:
    """Remove what a kill in the middle of a write has left; nobody else may be writing."""
    for folder in checkpoints.glob(".step-*"):
        shutil.rmtree(folder)


def remove_old_steps(checkpoints: Path, keep: int) -> None:
    """Remove all but the newest `keep` checkpoints."""
    for folder in steps_on_disk(checkpoints)[:-keep]:
        shutil.rmtree(folder)


def _names(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> list[str]:
    """Return the model's name of each parameter, in the optimizer's order."""
    by_id = {id(parameter): name for name, parameter in model.named_parameters()}
    return [by_id[id(p)] for group in optimizer.param_groups for p in group["params"]]
