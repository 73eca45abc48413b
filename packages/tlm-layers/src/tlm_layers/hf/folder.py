"""Model folders as Hugging Face has them: config.json beside safetensors files."""

import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import reduce
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tlm_layers.config import ModelConfig
from tlm_layers.hf.config import config_from_hf, config_to_hf
from tlm_layers.hf.weights import hf_names, reorder, weights_from_hf
from tlm_layers.model import TransformerLM

_CONFIG, _WEIGHTS, _INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"


def load_hf(
    folder: str | os.PathLike[str],
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> TransformerLM:
    """Load a Llama, Mistral or Qwen3 from a folder that transformers' `save_pretrained` wrote.

    Weights in one safetensors file or in several are read. The model takes them as they come, with
    no second set beside; on the CPU they are views of the mapped file, so that a file that is later
    written over would change them. A folder of the Hub is made by `hf download NAME --local-dir
    FOLDER`.

    Args:
        folder: has config.json and model.safetensors, or model.safetensors.index.json and what it
            names.
        device: where the weights go; None: torch's default device.
        dtype: type of the weights; None: as stored.

    Returns:
        The model.

    Raises:
        FileNotFoundError: no such folder, or a file of it is not there.
        ValueError: damaged files; a model that `config_from_hf` refuses; weights that do not fit
            the config; or pickled ones (pytorch_model.bin), which run code when they are loaded.
        ImportError: without safetensors.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(
            f"{folder} is not a folder; a model of the Hub is fetched into one with `hf download "
            f"NAME --local-dir FOLDER`"
        )
    config = _read_config(folder)
    state = _read_weights(folder, torch.device(device) if device else torch.get_default_device())
    try:
        weights = weights_from_hf(state, config)
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from None
    del state
    if dtype is not None:
        for name in weights:
            weights[name] = weights[name].to(dtype)
    model = TransformerLM(config, device="meta")
    model.load_state_dict(weights, assign=True)
    return model


def save_hf(
    model: TransformerLM,
    folder: str | os.PathLike[str],
    max_shard_bytes: int = 5_000_000_000,
    bos_token_id: int | None = None,
    eos_token_id: int | None = None,
) -> None:
    """Write a model so that transformers' `AutoModelForCausalLM.from_pretrained` loads it.

    The folder appears under its name when it is complete. A tokenizer may be saved into it
    afterwards.

    Args:
        model: one whose config `config_to_hf` takes.
        folder: the folder to make; it must not exist, or be empty.
        max_shard_bytes: weights of more bytes than this are split over several files, of one weight
            at least.
        bos_token_id: as for `config_to_hf`.
        eos_token_id: as for `config_to_hf`.

    Raises:
        FileExistsError: a `folder` that has something in it.
        ValueError: a model that `config_to_hf` refuses, or a size that is not positive.
        ImportError: without safetensors.
    """
    if max_shard_bytes < 1:
        raise ValueError(f"{max_shard_bytes=} must be positive")
    state = model.state_dict()
    dtype = reduce(torch.promote_types, (weight.dtype for weight in state.values()))
    config = config_to_hf(
        model.config, str(dtype).removeprefix("torch."), bos_token_id, eos_token_id
    )
    _safetensors()
    with _new_folder(Path(folder)) as temporary:
        _write_json(temporary / _CONFIG, config)
        _write_weights(temporary, state, model.config, max_shard_bytes)


def _safetensors() -> Any:
    try:
        import safetensors.torch
    except ModuleNotFoundError:
        raise ImportError(
            "Hugging Face's weights are safetensors files: pip install 'tlm-layers[hf]'"
        ) from None
    return safetensors


def _read_config(folder: Path) -> ModelConfig:
    path = folder / _CONFIG
    try:
        return config_from_hf(_read_json(path))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"not a JSON file: {error}") from None
    if not isinstance(content, dict):
        raise ValueError(f"must hold a JSON object, not a {type(content).__name__}")
    return content


def _read_weights(folder: Path, device: torch.device) -> dict[str, Tensor]:
    if (folder / _WEIGHTS).is_file():
        return _read_file(folder / _WEIGHTS, device)
    index = folder / _INDEX
    if not index.is_file():
        if list(folder.glob("*.bin")) or list(folder.glob("*.pt*")):
            raise ValueError(
                f"{folder} has pickled weights alone, which may run any code when they are loaded: "
                f"write safetensors with transformers' `save_pretrained`, from a source you trust"
            )
        raise FileNotFoundError(f"{folder} has neither {_WEIGHTS} nor {_INDEX}")
    files = _read_index(index)
    state: dict[str, Tensor] = {}
    for file in sorted(set(files.values())):
        state |= _read_file(folder / file, device)
    absent = sorted(name for name in files if name not in state)
    if absent:
        raise ValueError(f"{folder / files[absent[0]]} lacks {absent[0]}, which {index.name} lists")
    return state


def _read_index(path: Path) -> dict[str, str]:
    try:
        files = _read_json(path).get("weight_map")
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    # A name with a folder in it could lead anywhere on the disk.
    if not isinstance(files, dict) or not all(
        isinstance(name, str) and Path(name).name == name for name in files.values()
    ):
        raise ValueError(f"{path}: weight_map must give a file of this folder for each weight")
    return files


def _read_file(path: Path, device: torch.device) -> dict[str, Tensor]:
    library = _safetensors()
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing")
    try:
        weights: dict[str, Tensor] = library.torch.load_file(path, device=str(device))
    except library.SafetensorError as error:
        raise ValueError(f"{path} is no safetensors file, or a damaged one: {error}") from None
    return weights


def _write_weights(
    folder: Path, state: Mapping[str, Tensor], config: ModelConfig, max_shard_bytes: int
) -> None:
    names = hf_names(config)
    shards = _shards({name: state[name].nbytes for name in names}, max_shard_bytes)
    files = {}
    for number, shard in enumerate(shards, start=1):
        file = _WEIGHTS
        if len(shards) > 1:
            file = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        # Only one shard's weights are held in Hugging Face's order at a time.
        weights = {
            names[name]: reorder(name, state[name].detach(), config, to_hf=True).contiguous()
            for name in shard
        }
        _save_file(weights, folder / file)
        files.update(dict.fromkeys(weights, file))
    if len(shards) > 1:
        total = sum(weight.nbytes for weight in state.values())
        _write_json(folder / _INDEX, {"metadata": {"total_size": total}, "weight_map": files})


def _shards(sizes: Mapping[str, int], max_shard_bytes: int) -> list[list[str]]:
    shards: list[list[str]] = [[]]
    room = max_shard_bytes
    for name, size in sizes.items():
        if shards[-1] and size > room:
            shards.append([])
            room = max_shard_bytes
        shards[-1].append(name)
        room -= size
    return shards


def _save_file(weights: dict[str, Tensor], path: Path) -> None:
    library = _safetensors()
    try:
        # Transformers 4 wants to be told that a file is torch's.
        library.torch.save_file(weights, path, metadata={"format": "pt"})
    except library.SafetensorError as error:  # a full disk, too
        raise OSError(f"cannot write {path}: {error}") from error


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


@contextmanager
def _new_folder(path: Path) -> Iterator[Path]:
    """Fill a folder under a temporary name beside, which becomes `path` when all is on the disk."""
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise FileExistsError(f"{path} exists and is not empty: choose another name or remove it")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    temporary.mkdir()
    try:
        yield temporary
        for file in temporary.iterdir():
            _fsync(file)
        _fsync(temporary)
        if path.exists():
            path.rmdir()
        temporary.rename(path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    _fsync(path.parent)


def _fsync(path: Path) -> None:
    if path.is_dir() and os.name != "posix":
        return  # only POSIX systems open a folder
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
