import io
import json
import os
import pickle
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tlm_layers import ModelConfig, TransformerLM
from tlm_optim import AdamW, param_groups
from tlm_train import CheckpointError, load_checkpoint, save_checkpoint
from tlm_train.checkpoint import (
    check_step,
    read_step,
    remove_old_steps,
    remove_unfinished,
    steps_on_disk,
    write_step,
)

SMALL = ModelConfig(vocab_size=20, context_length=8, d_model=16, num_layers=2, num_heads=2, d_ff=24)


def fresh(seed: int, config: ModelConfig = SMALL) -> tuple[TransformerLM, AdamW]:
    torch.manual_seed(seed)
    model = TransformerLM(config)
    return model, AdamW(param_groups(model, 0.1), lr=1e-2)


def step(model: TransformerLM, optimizer: torch.optim.Optimizer, seed: int) -> None:
    ids = torch.randint(20, (2, 9), generator=torch.Generator().manual_seed(seed))
    logits = model(ids[:, :-1]).flatten(0, 1)
    torch.nn.functional.cross_entropy(logits, ids[:, 1:].flatten()).backward()
    optimizer.step()
    optimizer.zero_grad()


def same_weights(a: TransformerLM, b: TransformerLM) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))


@pytest.fixture
def trained() -> tuple[TransformerLM, AdamW]:
    model, optimizer = fresh(0)
    for seed in range(3):
        step(model, optimizer, seed)
    return model, optimizer


@pytest.mark.parametrize("kind", ["path", "str", "open file", "buffer"])
def test_training_goes_on_as_if_never_stopped(
    tmp_path: Path, trained: tuple[TransformerLM, AdamW], kind: str
) -> None:
    path = tmp_path / "a.pt"
    buffer = io.BytesIO()
    if kind == "open file":
        with path.open("wb") as file:
            save_checkpoint(*trained, 3, file)
    else:
        save_checkpoint(*trained, 3, {"path": path, "str": str(path), "buffer": buffer}[kind])
    model, optimizer = fresh(1)
    if kind == "open file":
        with path.open("rb") as file:
            assert load_checkpoint(file, model, optimizer) == 3
    else:
        buffer.seek(0)
        source = {"path": path, "str": str(path), "buffer": buffer}[kind]
        assert load_checkpoint(source, model, optimizer) == 3
    step(*trained, 3)
    step(model, optimizer, 3)
    assert same_weights(trained[0], model)


def test_torchs_own_optimizer_loads_it(
    tmp_path: Path, trained: tuple[TransformerLM, AdamW]
) -> None:
    save_checkpoint(*trained, 3, tmp_path / "a.pt")
    model, _ = fresh(1)
    optimizer = torch.optim.AdamW(param_groups(model, 0.1), lr=1e-2)
    load_checkpoint(tmp_path / "a.pt", model, optimizer)
    step(*trained, 3)
    step(model, optimizer, 3)
    for a, b in zip(trained[0].parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(a, b)


class Attack:
    def __reduce__(self) -> tuple[object, ...]:
        return (os.mkdir, ("hacked",))


def test_nothing_in_a_checkpoint_is_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trained: tuple[TransformerLM, AdamW]
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"model": Attack(), "optimizer": {}, "iteration": 0}, "evil.pt")
    Path("raw.pt").write_bytes(pickle.dumps(Attack()))
    for name in ("evil.pt", "raw.pt"):
        with pytest.raises(CheckpointError, match=f"{name} is not a readable checkpoint"):
            load_checkpoint(name, *trained)
    assert not Path("hacked").exists()


def test_damaged_and_foreign_files_are_named(
    tmp_path: Path, trained: tuple[TransformerLM, AdamW]
) -> None:
    path = tmp_path / "a.pt"
    save_checkpoint(*trained, 3, path)
    whole = path.read_bytes()
    for data in (b"", b"text", whole[: len(whole) // 2]):
        path.write_bytes(data)
        with pytest.raises(CheckpointError, match=r"a\.pt is not a readable checkpoint"):
            load_checkpoint(path, *trained)
    torch.save({"model": [], "optimizer": {}, "iteration": None}, path)
    with pytest.raises(CheckpointError, match="does not fit the model"):
        load_checkpoint(path, *trained)
    torch.save({"model": {}}, path)
    with pytest.raises(CheckpointError, match="lacks model, optimizer, iteration"):
        load_checkpoint(path, *trained)
    path.write_bytes(whole)
    other = fresh(0, ModelConfig(vocab_size=21, d_model=16, num_layers=2, num_heads=2, d_ff=24))
    with pytest.raises(CheckpointError, match=r"does not fit the model: .*size mismatch"):
        load_checkpoint(path, *other)
    with pytest.raises(FileNotFoundError):
        load_checkpoint(tmp_path / "none.pt", *trained)


def test_a_step_folder_restores_everything(
    tmp_path: Path, trained: tuple[TransformerLM, AdamW]
) -> None:
    folder = tmp_path / "step-00000003"
    write_step(folder, *trained, {"step": 3, "note": "x"})
    expected_random = torch.rand(3)
    model, optimizer = fresh(1)
    state = read_step(folder, model, optimizer)
    assert (state["step"], state["note"]) == (3, "x")
    assert torch.equal(torch.rand(3), expected_random)
    step(*trained, 3)
    step(model, optimizer, 3)
    assert same_weights(trained[0], model)


def test_the_files_are_what_the_names_say(
    tmp_path: Path, trained: tuple[TransformerLM, AdamW]
) -> None:
    folder = tmp_path / "step-00000003"
    write_step(folder, *trained, {"step": 3})
    weights = load_file(folder / "model.safetensors")
    assert weights.keys() == trained[0].state_dict().keys()
    moments = load_file(folder / "optim.safetensors")
    name = "layers.1.attn.q_proj.weight"
    parameter = dict(trained[0].named_parameters())[name]
    assert torch.equal(moments[f"{name}.exp_avg"], trained[1].state[parameter]["exp_avg"])
    manifest = json.loads((folder / "manifest.json").read_text())
    assert sorted(manifest) == ["model.safetensors", "optim.safetensors", "trainer.json"]
    assert manifest["trainer.json"]["bytes"] == (folder / "trainer.json").stat().st_size


@pytest.mark.parametrize("name", ["model.safetensors", "optim.safetensors", "trainer.json"])
@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
def test_damage_is_found_before_a_weight_is_used(
    tmp_path: Path, trained: tuple[TransformerLM, AdamW], name: str, damage: str
) -> None:
    folder = tmp_path / "step-00000003"
    write_step(folder, *trained, {"step": 3})
    file = folder / name
    if damage == "flip":
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
    elif damage == "truncate":
        os.truncate(file, file.stat().st_size - 1)
    else:
        file.unlink()
    model, optimizer = fresh(1)
    with pytest.raises(CheckpointError, match=name):
        read_step(folder, model, optimizer)
    assert same_weights(model, fresh(1)[0]) and not optimizer.state


def test_no_kill_leaves_a_half_checkpoint(tmp_path: Path) -> None:
    script = """
import sys
from pathlib import Path
import torch
from tlm_train.checkpoint import write_step
model = torch.nn.Linear(1000, 1000)
optimizer = torch.optim.AdamW(model.parameters())
model(torch.ones(1000)).sum().backward()
optimizer.step()
print("ready", flush=True)
for step in range(10**6):
    write_step(Path(sys.argv[1]) / f"step-{step:08d}", model, optimizer, {"step": step})
"""
    for delay in (0.05, 0.11, 0.17, 0.23):
        folder = tmp_path / str(delay)
        folder.mkdir()
        with subprocess.Popen(
            [sys.executable, "-c", script, str(folder)], stdout=subprocess.PIPE
        ) as process:
            assert process.stdout is not None and process.stdout.readline() == b"ready\n"
            time.sleep(delay)
            process.kill()
        for checkpoint in steps_on_disk(folder):
            check_step(checkpoint)
        remove_unfinished(folder)
        assert all(path.name.startswith("step-") for path in folder.iterdir())


@pytest.mark.skipif(sys.platform == "win32", reason="limits of a process are POSIX")
@pytest.mark.parametrize("call", ["save_checkpoint", "write_step"])
def test_a_write_that_the_disk_refuses_keeps_the_last_good_one(tmp_path: Path, call: str) -> None:
    script = """
import resource, signal, sys
from pathlib import Path
import torch
from tlm_train import checkpoint
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
model = torch.nn.Linear(1000, 1000)
optimizer = torch.optim.AdamW(model.parameters())
def save(name):
    if sys.argv[1] == "save_checkpoint":
        checkpoint.save_checkpoint(model, optimizer, 1, Path("good"))
    else:
        checkpoint.write_step(Path(name), model, optimizer, {"step": 1})
save("good")
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
try:
    save("next")
except OSError as error:
    print(error)
"""
    out = subprocess.check_output([sys.executable, "-c", script, call], cwd=tmp_path, text=True)
    assert out.startswith("cannot write the checkpoint ")
    assert os.listdir(tmp_path) == ["good"]
    if call == "write_step":
        check_step(tmp_path / "good")
    else:
        state = torch.load(tmp_path / "good", weights_only=True)
        assert state["iteration"] == 1


@pytest.mark.parametrize("content", ["", "{", "[]", "{}x", '{"a": 1}'])
def test_a_damaged_manifest(
    tmp_path: Path, trained: tuple[TransformerLM, AdamW], content: str
) -> None:
    folder = tmp_path / "step-00000003"
    write_step(folder, *trained, {"step": 3})
    (folder / "manifest.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"manifest\.json is damaged"):
        check_step(folder)
    (folder / "manifest.json").unlink()
    with pytest.raises(CheckpointError, match=r"manifest\.json is missing"):
        check_step(folder)


def test_another_models_checkpoint_is_refused(
    tmp_path: Path, trained: tuple[TransformerLM, AdamW]
) -> None:
    folder = tmp_path / "step-00000003"
    write_step(folder, *trained, {"step": 3})
    config = ModelConfig(vocab_size=20, d_model=16, num_layers=3, num_heads=2, d_ff=24)
    with pytest.raises(CheckpointError, match=r"does not fit: .*layers\.2"):
        read_step(folder, *fresh(0, config))


def test_only_the_newest_checkpoints_are_kept(
    tmp_path: Path, trained: tuple[TransformerLM, AdamW]
) -> None:
    for number in (1, 2, 10):
        write_step(tmp_path / f"step-{number:08d}", *trained, {"step": number})
    remove_old_steps(tmp_path, keep=2)
    assert sorted(os.listdir(tmp_path)) == ["step-00000002", "step-00000010"]
