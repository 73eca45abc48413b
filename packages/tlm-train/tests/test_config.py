import io
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st
from tlm_data.command_line import parse_arguments
from tlm_layers import ModelConfig
from tlm_train.cli import Command, _complete
from tlm_train.config import (
    DataConfig,
    LogConfig,
    OptimConfig,
    RunConfig,
    TrainConfig,
    load_config,
    to_toml,
)


def parse(*arguments: str) -> Any:
    return parse_arguments(Command, _complete(list(arguments)), prog="tlm-train")


@given(
    lr=st.floats(1e-8, 1.0),
    min_lr=st.none() | st.floats(0, 1e-8),
    d_ff=st.none() | st.integers(1, 5000),
    text=st.lists(st.sampled_from([Path("a.txt"), Path("dir/b c.txt")]), max_size=2),
    prompt=st.text(st.characters(blacklist_categories=("Cs",)), max_size=20),
    qk_norm=st.booleans(),
)
def test_toml_gives_the_same_config_back(
    tmp_path_factory: pytest.TempPathFactory,
    lr: float,
    min_lr: float | None,
    d_ff: int | None,
    text: list[Path],
    prompt: str,
    qk_norm: bool,
) -> None:
    config = RunConfig(
        data=DataConfig(text=tuple(text)),
        model=ModelConfig(d_ff=d_ff, qk_norm=qk_norm),
        optim=OptimConfig(lr=lr, min_lr=min_lr),
        log=LogConfig(sample_prompt=prompt),
    )
    path = tmp_path_factory.mktemp("config") / "config.toml"
    path.write_text(to_toml(config), encoding="utf-8")
    assert load_config(path) == config


def test_precedence_is_defaults_then_toml_then_command_line(tmp_path: Path) -> None:
    path = tmp_path / "my.toml"
    path.write_text(
        "[optim]\nlr = 0.5\neps = 1e-6\n[data]\ntext = ['a', 'b']\n[log]\nwandb = 'offline'\n"
    )
    command = parse("run", str(path), "--optim.lr", "3e-4", "--log.wandb", "disabled")
    assert (command.optim.lr, command.optim.eps) == (3e-4, 1e-6)
    assert command.data.text == (Path("a"), Path("b"))
    assert command.log.wandb == "disabled"
    assert command.train == TrainConfig()


def test_what_none_stands_for() -> None:
    config = parse("--train.steps", "40", "--optim.lr", "0.5")
    optim = RunConfig(train=config.train, optim=config.optim).resolved().optim
    assert (optim.warmup_steps, optim.min_lr) == (4, 0.05)
    assert RunConfig().resolved().optim.warmup_steps == 50
    assert RunConfig().resolved().resolved() == RunConfig().resolved()


def test_a_config_file_alone_is_run(tmp_path: Path) -> None:
    (tmp_path / "my.toml").write_text("[train]\nsteps = 7\n")
    assert parse(str(tmp_path / "my.toml")).train.steps == 7


def test_the_command_may_be_left_out() -> None:
    assert parse() == parse("run")
    assert parse("--optim.lr", "3e-4").optim.lr == 3e-4
    assert parse("--data.text", "a", "b").data.text == (Path("a"), Path("b"))


def test_a_negative_value_or_one_with_a_dash_passes_from_toml(tmp_path: Path) -> None:
    path = tmp_path / "my.toml"
    path.write_text("[log]\nsample_prompt = '--x y'\n")
    assert load_config(path).log.sample_prompt == "--x y"
    assert parse("run", str(path)).log.sample_prompt == "--x y"


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--optim.lrr", "3"], "--optim.lrr, 3; did you mean --optim.lr?"),
        (["--optim.lr", "fast"], "--optim.lr: 'fast' is not a number"),
        (["--train.steps", "1.5"], "--train.steps: .*'1.5'"),
        (["--log.wandb", "maybe"], "invalid choice 'maybe' for argument '--log.wandb'"),
        (["nonsense"], "nonsense; the commands are run, resume, generate$"),
        (
            ["--data.text", "a", "--data.text=b"],
            "^--data.text is given twice: give it once, with all its files",
        ),
        (["resume"], "Missing from tlm-train resume"),
        (["--model.d-model", "96", "--model.num-heads", "7"], "^d_model=96 must be divisible by"),
        (["--optim.lr", "-1"], r"^optim.lr=-1.0 must be greater than 0$"),
        (["--optim.lr", "nan"], r"^optim.lr=nan must be greater than 0$"),
        (["--optim.betas", "1", "0"], r"^optim.betas=\(1.0, 0.0\) must each lie in \[0, 1\)$"),
        (["--optim.min-lr", "1"], r"^optim.min_lr=1.0 must lie between 0 and lr="),
        (["--optim.warmup-steps", "9", "--train.steps", "8"], "^optim.warmup_steps=9 must not"),
        (["--train.seed", "-1"], "^train.seed=-1 must lie between 0 and"),
        (["--data.val-fraction", "1"], "^data.val_fraction=1.0 must lie between 0 and 1"),
        (["--data.val-text", "a"], "^data.val_text needs data.text"),
    ],
)
def test_mistakes_on_the_command_line_are_one_line(
    arguments: list[str], message: str, encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(io.BytesIO(), encoding=encoding))
    with pytest.raises(ValueError, match=message) as caught:
        parse(*arguments)
    assert not set("\n│─|") & set(str(caught.value)) and "---" not in str(caught.value)


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"optim": {"lrr": 1}}, "unknown key optim.lrr; did you mean optim.lr?"),
        ({"optm": {"lr": 1}}, "unknown key optm.lr; did you mean optim.lr?"),
        ({"lr": 1}, "unknown key lr; see tlm-train run --help"),
        ({"optim": {"lr": "fast"}}, "optim.lr = 'fast' is not of type float"),
        ({"model": {"qk_norm": 1}}, "model.qk_norm = 1 is not of type bool"),
        ({"model": {"d_ff": True}}, r"model.d_ff = True is not of type int \| None"),
        ({"model": {"d_model": False}}, "model.d_model = False is not of type int"),
        ({"train": {"steps": 1.5}}, "train.steps = 1.5 is not of type int"),
        ({"model": {"d_ff": "wide"}}, r"model.d_ff = 'wide' is not of type int \| None"),
        (
            {"optim": {"betas": [0.9]}},
            r"optim.betas = \[0.9\] is not of type tuple\[float, float\]",
        ),
        ({"log": {"wandb": "maybe"}}, r"log.wandb = 'maybe' is not of type Literal\['auto'"),
        ({"model": {"d_model": 96, "num_heads": 7}}, "d_model=96 must be divisible by num_heads=7"),
    ],
)
def test_mistakes_in_a_file_name_the_file(
    tmp_path: Path, tables: dict[str, Any], message: str
) -> None:
    path = tmp_path / "my.toml"
    path.write_text(tomli_w.dumps(tables))
    with pytest.raises(ValueError, match=rf"my\.toml: {message}"):
        load_config(path)


def test_files_that_are_not_toml(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"cannot read the config .*none\.toml: No such file"):
        load_config(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("[optim\n")
    with pytest.raises(ValueError, match=r"bad\.toml is not TOML: .*line 1"):
        load_config(tmp_path / "bad.toml")
    (tmp_path / "bad.toml").write_bytes(b"\xff")
    with pytest.raises(ValueError, match=r"bad\.toml is not TOML"):
        load_config(tmp_path / "bad.toml")
