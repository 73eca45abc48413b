import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from bpe_tok import Tokenizer
from tlm_data import END_OF_TEXT, Corpus, Loader, RandomWindows, write_documents
from tlm_layers import ModelConfig, TransformerLM
from tlm_train.config import LogConfig, OptimConfig, RunConfig, TrainConfig
from tlm_train.metrics import Row
from tlm_train.trainer import Trainer, TrainingError, find_device

MODEL = ModelConfig(
    vocab_size=257, context_length=16, d_model=16, num_layers=1, num_heads=2, d_ff=24
)


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    tokenizer = Tokenizer.byte_level([END_OF_TEXT])
    text = Path(torch.__file__).read_text(encoding="utf-8")[:5000]
    train = write_documents([text], tokenizer, tmp_path / "train")
    val = write_documents([text[:100]], tokenizer, tmp_path / "val")
    return Corpus(tmp_path, tokenizer, train, val)


def config(optim: OptimConfig | None = None, **train: int) -> RunConfig:
    sizes = {"steps": 12, "batch_size": 3, "eval_every_steps": 100}
    return RunConfig(
        model=MODEL,
        optim=optim or OptimConfig(lr=1e-2, warmup_steps=4, max_grad_norm=0.5),
        train=TrainConfig(**(sizes | train)),  # type: ignore[arg-type]
        log=LogConfig(sample_tokens=4),
    )


def test_the_weights_are_those_of_a_loop_of_torchs_own_parts(
    corpus: Corpus, tmp_path: Path
) -> None:
    trainer = Trainer(config(), corpus)
    rows: list[Row] = []
    trainer.train(tmp_path / "checkpoints", rows.append)

    torch.manual_seed(0)
    model = TransformerLM(MODEL)
    matrices = [p for p in model.parameters() if p.ndim > 1]
    gains = [p for p in model.parameters() if p.ndim == 1]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.1}, {"params": gains, "weight_decay": 0.0}],
        lr=1e-2,
        betas=(0.9, 0.99),
    )

    def factor(step: int) -> float:
        if step + 1 < 4:
            return (step + 1) / 4
        return 0.1 + 0.45 * (1 + math.cos(math.pi * (step + 1 - 4) / (12 - 4)))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    loader = Loader(RandomWindows(corpus.train, 16, seed=0), batch_size=3)
    losses, norms, rates = [], [], []
    for step in range(12):
        batch = loader.batch(step)
        loss = F.cross_entropy(model(batch.inputs).flatten(0, 1), batch.targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5).item())
        losses.append(loss.item())
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()

    steps = [row for row in rows if "train_loss" in row]
    assert [row["step"] for row in steps] == list(range(1, 13))
    assert [row["train_loss"] for row in steps] == pytest.approx(losses, rel=1e-4)
    assert [row["grad_norm"] for row in steps] == pytest.approx(norms, rel=1e-3)
    assert [row["lr"] for row in steps] == pytest.approx(rates, rel=1e-6)
    for ours, theirs in zip(trainer.model.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


def test_the_axes_count_what_was_trained_on(corpus: Corpus, tmp_path: Path) -> None:
    rows: list[Row] = []
    Trainer(config(eval_every_steps=5), corpus).train(tmp_path / "checkpoints", rows.append)
    evaluations = [row for row in rows if "val_loss" in row]
    assert [row["step"] for row in evaluations] == [5, 10, 12]
    last = rows[-1]
    assert last["tokens"] == 12 * 3 * 16
    assert last["epochs"] == pytest.approx(12 * 3 * 16 / len(corpus.train))
    seconds = [row["elapsed_seconds"] for row in rows]
    assert seconds == sorted(seconds) and seconds[0] > 0


def test_a_loss_that_is_not_finite_stops_before_the_weights_change(
    corpus: Corpus, tmp_path: Path
) -> None:
    trainer = Trainer(config(), corpus)
    with torch.no_grad():
        trainer.model.lm_head.weight[0, 0] = math.inf
    before = [p.clone() for p in trainer.model.parameters()]
    with pytest.raises(TrainingError, match=r"step 1: the loss is (nan|inf)"):
        trainer.train(tmp_path / "checkpoints", lambda row: None)
    for old, new in zip(before, trainer.model.parameters(), strict=True):
        assert torch.equal(old, new)
    assert not (tmp_path / "checkpoints").exists()


def test_text_shorter_than_a_context_is_refused(tmp_path: Path) -> None:
    tokenizer = Tokenizer.byte_level([END_OF_TEXT])
    store = write_documents(["short"], tokenizer, tmp_path / "train")
    corpus = Corpus(tmp_path, tokenizer, store, store)
    with pytest.raises(ValueError, match="the corpus has 6 tokens, but context_length=16"):
        Trainer(config(), corpus)


def test_validation_text_that_is_blank_is_refused(corpus: Corpus, tmp_path: Path) -> None:
    empty = write_documents([], corpus.tokenizer, tmp_path / "empty")
    with pytest.raises(ValueError, match="the validation text has 0 tokens, at least 2"):
        Trainer(config(), Corpus(tmp_path, corpus.tokenizer, corpus.train, empty))


@pytest.mark.parametrize("every", ["eval_every_steps", "checkpoint_every_steps"])
def test_weights_that_are_not_finite_are_neither_scored_nor_saved(
    corpus: Corpus, tmp_path: Path, every: str
) -> None:
    optim = OptimConfig(lr=1e39, warmup_steps=0, max_grad_norm=1.0)
    trainer = Trainer(config(optim, **{every: 1}), corpus)
    with pytest.raises(TrainingError, match=r"step 1: .* is no longer finite; lower optim.lr"):
        trainer.train(tmp_path / "checkpoints", lambda row: None)
    assert not (tmp_path / "checkpoints").exists()


def test_devices_are_found_by_name() -> None:
    assert find_device("cpu") == torch.device("cpu")
    assert find_device("auto").type in ("cpu", "cuda", "mps")
    with pytest.raises(ValueError, match=r"train.device=nowhere is not usable here"):
        find_device("nowhere")
    with pytest.raises(ValueError, match=r"train.device=meta holds no numbers"):
        find_device("meta")
    with pytest.raises(ValueError, match=r"train.device=cuda:99 is not usable here"):
        find_device("cuda:99")
