"""The command itself, as its users run it: real processes, real text, real kills."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tlm_train.cli import main
from tlm_train.config import RunConfig
from tlm_train.metrics import read_metrics

STEPS = 150
SMALL = [
    "--model.vocab-size=400",
    "--model.context-length=32",
    "--model.d-model=32",
    "--model.num-layers=2",
    "--model.num-heads=2",
    f"--train.steps={STEPS}",
    "--train.batch-size=4",
    "--train.eval-every-steps=50",
    "--train.eval-windows=8",
    "--train.checkpoint-every-steps=25",
    "--optim.warmup-steps=5",
    "--optim.lr=1e-2",
    "--log.sample-tokens=16",
    "--log.every-steps=1",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a text, where all runs share a prepared corpus."""
    folder = tmp_path_factory.mktemp("work")
    parts = [Path(module.__file__).read_text("utf-8") for module in (subprocess, tempfile)]
    (folder / "text.txt").write_text("<|endoftext|>".join(parts), encoding="utf-8")
    return folder


def start(folder: Path, *arguments: str, **extra: str) -> subprocess.Popen[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "WANDB_MODE": "disabled"} | extra
    environment.pop("WANDB_SERVICE", None)  # a service of this process is not the child's
    return subprocess.Popen(
        [sys.executable, "-m", "tlm_train", *arguments],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def tlm_train(folder: Path, *arguments: str, code: int = 0) -> tuple[str, str]:
    process = start(folder, *arguments)
    out, err = process.communicate(timeout=300)
    assert process.returncode == code, f"exit code {process.returncode}\n{out}\n{err}"
    return out, err


def train(folder: Path, name: str, *options: str) -> Path:
    tlm_train(folder, "--data.text=text.txt", *SMALL, f"--log.run-dir=runs/{name}", *options)
    return folder / "runs" / name


@pytest.fixture(scope="module")
def unbroken(folder: Path) -> Path:
    """A run that was never stopped."""
    return train(folder, "unbroken")


def last_weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "checkpoints" / f"step-{STEPS:08d}" / "model.safetensors")


def assert_same_end(run: Path, unbroken: Path) -> None:
    ours, theirs = last_weights(run), last_weights(unbroken)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    rows = [read_metrics(path / "metrics.jsonl") for path in (run, unbroken)]
    for name in ("step", "train_loss", "val_loss", "sample", "lr", "grad_norm"):
        assert [r.get(name) for r in rows[0]] == [r.get(name) for r in rows[1]], name
    assert (run / "samples.txt").read_text("utf-8") == (unbroken / "samples.txt").read_text("utf-8")


def test_with_no_argument_it_runs_with_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    configs = []
    monkeypatch.setattr("tlm_train.commands.run", configs.append)
    main([])
    main(["run"])
    assert configs == [RunConfig(), RunConfig()]


def test_a_run_learns_and_leaves_everything(unbroken: Path) -> None:
    rows = read_metrics(unbroken / "metrics.jsonl")
    losses = [row["train_loss"] for row in rows if "train_loss" in row]
    evaluations = [row for row in rows if "val_loss" in row]
    assert len(losses) == STEPS and len(evaluations) == 3
    assert losses[0] > 5.5 and sum(losses[-5:]) / 5 < losses[0] - 1
    assert evaluations[-1]["val_loss"] < evaluations[0]["val_loss"]
    assert rows[-1]["tokens"] == STEPS * 4 * 32
    names = {"config.toml", "corpus.json", "tokenizer", "metrics.jsonl", "samples.txt"}
    found = {path.name for path in unbroken.iterdir()} - {".lock"}
    assert found == names | {"report.html", "checkpoints"}
    checkpoints = sorted(path.name for path in (unbroken / "checkpoints").iterdir())
    assert checkpoints == ["step-00000125", "step-00000150"]


def test_the_same_seed_gives_the_same_run_and_another_seed_another(
    folder: Path, unbroken: Path
) -> None:
    assert_same_end(train(folder, "again"), unbroken)
    other = last_weights(train(folder, "other", "--train.seed=1"))
    assert not torch.equal(other["lm_head.weight"], last_weights(unbroken)["lm_head.weight"])


def test_a_run_goes_again_from_its_own_config(folder: Path, unbroken: Path) -> None:
    before = set((folder / "runs").iterdir())
    tlm_train(folder, "run", str(unbroken / "config.toml"))
    (rerun,) = set((folder / "runs").iterdir()) - before
    assert_same_end(rerun, unbroken)


@pytest.mark.parametrize("rows", [3, 40, 90])
def test_kill_and_resume_end_as_an_unbroken_run(folder: Path, unbroken: Path, rows: int) -> None:
    name = f"runs/killed-{rows}"
    process = start(folder, "--data.text=text.txt", *SMALL, f"--log.run-dir={name}")
    metrics = folder / name / "metrics.jsonl"
    while not metrics.exists() or metrics.read_bytes().count(b"\n") < rows:
        assert process.poll() is None, process.communicate()
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (folder / name / "checkpoints" / f"step-{STEPS:08d}").exists()
    tlm_train(folder, "resume", name)
    assert_same_end(folder / name, unbroken)
    assert (folder / name / "report.html").exists()


def test_a_finished_run_resumes_to_itself(folder: Path, unbroken: Path) -> None:
    before = (unbroken / "metrics.jsonl").read_bytes()
    out, _ = tlm_train(folder, "resume", str(unbroken))
    assert "finished at step 150; to go on raise steps in" in out
    assert "step   150  validation loss" in out
    assert (unbroken / "metrics.jsonl").read_bytes() == before


def test_another_number_of_threads_is_said(folder: Path, unbroken: Path) -> None:
    process = start(folder, "resume", str(unbroken), OMP_NUM_THREADS="2")
    out, _ = process.communicate(timeout=60)
    assert "2 threads round sums otherwise than the 1 of before" in out


def test_a_damaged_checkpoint_is_passed_over(folder: Path, unbroken: Path) -> None:
    run = train(folder, "damaged")
    file = run / "checkpoints" / f"step-{STEPS:08d}" / "model.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    out, _ = tlm_train(folder, "resume", str(run))
    assert "passed over a checkpoint" in out and "model.safetensors is damaged" in out
    assert "going on from step 125 of 150" in out
    assert_same_end(run, unbroken)
    for checkpoint in (run / "checkpoints").iterdir():
        (checkpoint / "manifest.json").unlink()
    _, err = tlm_train(folder, "resume", str(run), code=2)
    assert "no checkpoint of" in err and "is whole" in err


def test_a_run_needs_its_prepared_text_or_the_text_as_it_was(folder: Path) -> None:
    text, name, data = folder / "other.txt", "runs/moved", folder / "other-data"
    before = (folder / "text.txt").read_text("utf-8")[:20_000]
    text.write_text(before, encoding="utf-8")
    options = ["--data.text=other.txt", "--data.dir=other-data", f"--log.run-dir={name}"]
    tlm_train(folder, *SMALL, *options)
    text.write_text("something else\n" * 2000)
    tlm_train(folder, "resume", name)
    shutil.rmtree(data)
    _, err = tlm_train(folder, "resume", name, code=2)
    assert "is not what runs/moved began with: bring the text" in err
    text.unlink()
    _, err = tlm_train(folder, "resume", name, code=2)
    assert "other.txt does not exist" in err
    text.write_text(before, encoding="utf-8")
    tlm_train(folder, "resume", name)


def test_a_flipped_bit_in_the_prepared_text_is_found(folder: Path) -> None:
    (folder / "third.txt").write_text((folder / "text.txt").read_text("utf-8")[:20_000])
    options = ["--data.text=third.txt", *SMALL]
    tlm_train(folder, *options, "--log.run-dir=runs/third")
    (shard,) = (folder / "data").glob("third-*/train/shard-00000.bin")
    data = bytearray(shard.read_bytes())
    data[100] ^= 1
    shard.write_bytes(data)
    for arguments in ([*options, "--log.run-dir=runs/fourth"], ["resume", "runs/third"]):
        _, err = tlm_train(folder, *arguments, code=2)
        assert "shard-00000.bin is damaged: its XXH3" in err and "prepare the corpus again" in err


def test_a_second_process_on_a_run_is_refused(folder: Path) -> None:
    name = "runs/busy"
    options = ["--train.steps=100000", "--train.eval-every-steps=100000"]
    process = start(folder, "--data.text=text.txt", *SMALL, *options, f"--log.run-dir={name}")
    metrics = folder / name / "metrics.jsonl"
    while not metrics.exists() or not metrics.read_bytes():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    _, err = tlm_train(folder, "resume", name, code=2)
    process.kill()
    process.communicate()
    assert f"another process is training in {name}" in err


@pytest.mark.skipif(sys.platform == "win32", reason="limits of a process are POSIX")
def test_a_disk_that_refuses_a_checkpoint_leaves_the_last_good_one(
    folder: Path, unbroken: Path
) -> None:
    run = train(folder, "full")
    shutil.rmtree(run / "checkpoints" / f"step-{STEPS:08d}")
    code = """
import resource, signal, sys
from tlm_train.cli import main
from tlm_train.config import RunConfig
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000))
main(["resume", sys.argv[1]])
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(run)], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "cannot write the checkpoint" in done.stderr
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["step-00000125"]
    tlm_train(folder, "resume", str(run))
    assert_same_end(run, unbroken)


def test_generate_writes_the_same_text_for_a_seed(folder: Path, unbroken: Path) -> None:
    arguments = ["generate", str(unbroken), "--prompt=def ", "--max-tokens=30", "--seed=7"]
    first, _ = tlm_train(folder, *arguments)
    assert first.startswith("def ") and len(first) > 20
    assert tlm_train(folder, *arguments)[0] == first
    assert tlm_train(folder, *arguments[:-1], "--seed=8")[0] != first
    assert tlm_train(folder, *arguments[:-1])[0] != tlm_train(folder, *arguments[:-1])[0]


def test_a_reader_that_has_enough_is_no_error(folder: Path, unbroken: Path) -> None:
    process = start(folder, "generate", str(unbroken), "--max-tokens=100000")
    assert process.stdout is not None
    process.stdout.read(10)
    process.stdout.close()
    process.wait(timeout=60)
    assert process.stderr is not None
    with process.stderr:
        assert process.returncode == 141 and process.stderr.read() == ""


def test_a_run_in_wandb_goes_on_there_when_resumed(folder: Path) -> None:
    run = train(folder, "tracked", "--log.wandb=offline")
    shutil.rmtree(run / "checkpoints" / f"step-{STEPS:08d}")
    out, err = tlm_train(folder, "resume", str(run))
    assert "wandb: offline, later: wandb sync" in out and "wandb failed" not in out, out + err
    first, second = sorted((run / "wandb").glob("offline-run-*/*.wandb"))
    assert first.name == second.name
    for name in (b"train_loss", b"val_loss", b"bits_per_byte", b"memory_bytes"):
        assert name in first.read_bytes() and name in second.read_bytes()
    for name in (b"num_parameters", b"layers.1.attn.q_proj.weight", b"warmup_steps"):
        assert name in first.read_bytes()


def test_ctrl_c_says_how_to_go_on(folder: Path, unbroken: Path) -> None:
    name = "runs/stopped"
    process = start(folder, "--data.text=text.txt", *SMALL, f"--log.run-dir={name}")
    metrics = folder / name / "metrics.jsonl"
    while not metrics.exists() or metrics.read_bytes().count(b"\n") < 15:
        assert process.poll() is None, process.communicate()
        time.sleep(0.002)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"; to go on from step 0: tlm-train resume {name}" in err and "Traceback" not in err
    tlm_train(folder, "resume", name)
    assert_same_end(folder / name, unbroken)


def test_a_run_that_diverges_stops_with_its_last_good_checkpoint(folder: Path) -> None:
    options = ["--optim.lr=1e30", "--optim.max-grad-norm=1e30", "--log.run-dir=runs/diverged"]
    _, err = tlm_train(folder, "--data.text=text.txt", *SMALL, *options, code=2)
    assert "the loss is" in err and "lower optim.lr" in err
    assert (folder / "runs" / "diverged" / "report.html").exists()


@pytest.fixture(scope="module")
def bad_files(folder: Path) -> Path:
    (folder / "empty.txt").write_text("")
    (folder / "blank.txt").write_text("\n\n \n")
    (folder / "short.txt").write_text("one line\nand another\n")
    (folder / "latin.txt").write_bytes("caf\u00e9 au lait\n".encode("latin-1") * 100)
    (folder / "typo.toml").write_text("[optim]\nlrr = 1e-3\n")
    (folder / "type.toml").write_text("[train]\nsteps = 'many'\n")
    return folder


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data.text=none.txt"], "the text file none.txt does not exist"),
        (["--data.text=runs"], "the text file runs is a folder, not a file"),
        (["--data.text=empty.txt"], "empty.txt): give a file with text in it"),
        (["--data.text=short.txt"], "tokens, but context_length=128 needs at least 129"),
        (["--data.text=latin.txt"], "latin.txt is not UTF-8: byte 3 (0xe9)"),
        (["--data.text=text.txt", "--data.tokenizer=none"], "none is not a tokenizer"),
        (["run", "typo.toml"], "typo.toml: unknown key optim.lrr; did you mean optim.lr?"),
        (["run", "type.toml"], "type.toml: train.steps = 'many' is not of type int"),
        (["run", "none.toml"], "cannot read the config none.toml"),
        (["--optim.lrr=1"], "did you mean --optim.lr?"),
        (["--train.steps=many"], "--train.steps"),
        (["--model.num-heads=7"], "d_model=256 must be divisible by num_heads=7"),
        (["--model.vocab-size=10", "--data.text=text.txt"], "vocab_size=10"),
        (["--train.device=nowhere"], "train.device=nowhere is not usable here"),
        (["--log.run-dir=runs/unbroken"], "runs/unbroken exists already"),
        (["--log.sample-prompt=" + "def " * 300, "--data.text=text.txt"], "the prompt has"),
        (["generate", "runs/unbroken", "--prompt=" + "def " * 99], "more than context_length=32"),
        (["generate", "runs/unbroken", "--seed=-1"], "seed=-1 must lie between 0 and"),
        (["generate", "runs/unbroken", "--top-p=0"], "top_p=0.0 must be greater than 0"),
        (
            ["--log.every-steps=5", "typo.toml"],
            "put the config file first: tlm-train run typo.toml",
        ),
        (["--data.text=text.txt", "--data.dir=text.txt"], "data.dir=text.txt is a file"),
        (["--log.wandb=online"], "log.wandb=online needs a login"),
        (["--data.text=text.txt", "--data.val-text=blank.txt"], "the validation text has 0 tokens"),
        (["generate", "none"], "none is not a run: there is no such folder"),
        (["resume", "runs"], "runs is not a run: config.toml is missing"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    bad_files: Path,
    unbroken: Path,
    arguments: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(bad_files)
    before = sorted(path.name for path in (bad_files / "runs").iterdir())
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.startswith("tlm-train: ") and err.count("\n") == 1
    assert sorted(path.name for path in (bad_files / "runs").iterdir()) == before


def test_too_little_memory_is_one_line(folder: Path) -> None:
    options = ["--train.batch-size=100000000000", "--log.run-dir=runs/huge"]
    _, err = tlm_train(folder, "--data.text=text.txt", *SMALL, *options, code=2)
    assert err.startswith("tlm-train: out of memory: lower train.batch_size")
    assert err.count("\n") == 1


def test_a_given_tokenizer_sets_the_models_vocabulary(folder: Path, unbroken: Path) -> None:
    options = [f"--data.tokenizer={unbroken / 'tokenizer'}", "--model.vocab-size=300"]
    _, err = tlm_train(folder, "--data.text=text.txt", *options, code=2)
    assert "has 400 tokens, more than model.vocab_size=300: pass --model.vocab-size 400" in err
    run = train(folder, "given", options[0], "--model.vocab-size=900")
    assert last_weights(run)["lm_head.weight"].shape[0] == 400
    assert_same_end(run, unbroken)


def test_help_names_the_commands_and_options(folder: Path) -> None:
    out, _ = tlm_train(folder, "--help")
    assert all(command in out for command in ("run", "resume", "generate"))
    out, _ = tlm_train(folder, "run", "--help")
    assert "--optim.lr" in out and "Peak learning rate" in out
