"""The training loop, and the parts that it wires together."""

import dataclasses
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
from bpe_tok import Tokenizer
from tlm_data import END_OF_TEXT, Corpus, Loader, RandomWindows, SequentialWindows
from tlm_layers import TransformerLM
from tlm_optim import AdamW, clip_grad_norm, cosine_schedule, param_groups

from tlm_train.checkpoint import (
    read_step,
    remove_old_steps,
    step_folder,
    write_step,
)
from tlm_train.config import RunConfig
from tlm_train.evaluate import evaluate
from tlm_train.generate import check_prompt, generate
from tlm_train.metrics import Row, memory_bytes


class TrainingError(ArithmeticError):
    """Training cannot go on: something is no longer a finite number."""


class Trainer:
    """A model in training: everything that a step reads or changes.

    Args:
        config: The run's resolved config.
        corpus: What to train on.

    Raises:
        ValueError: The text is shorter than a context, the sample's prompt is longer than one, or
            the device is not on this machine.
    """

    def __init__(self, config: RunConfig, corpus: Corpus) -> None:
        self.config = config = config.resolved()
        self.corpus = corpus
        self.device = find_device(config.train.device)
        self.end_id = corpus.tokenizer.special_tokens[END_OF_TEXT]
        self.prompt_ids = corpus.tokenizer.encode(config.log.sample_prompt) or [self.end_id]
        check_prompt(self.prompt_ids, config.model.context_length)
        if len(corpus.val) < 2:
            raise ValueError(
                f"the validation text has {len(corpus.val)} tokens, at least 2 are needed: add text"
            )
        torch.manual_seed(config.train.seed)
        self.model = TransformerLM(config.model).to(self.device)
        self.optimizer = AdamW(
            param_groups(self.model, config.optim.weight_decay),
            lr=config.optim.lr,
            betas=config.optim.betas,
            eps=config.optim.eps,
        )
        windows = RandomWindows(corpus.train, config.model.context_length, seed=config.train.seed)
        self.loader = Loader(windows, config.train.batch_size, device=self.device)
        self.step = 0
        self.elapsed_seconds = 0.0

    def train(self, checkpoints: Path, on_row: Callable[[Row], None]) -> None:
        """Train from the current step to the last one.

        Args:
            checkpoints: The folder that takes checkpoints.
            on_row: Called with the metrics of each step and of each evaluation.

        Raises:
            TrainingError: The loss, the gradient or a weight is not finite; the last checkpoint
                is good.
        """
        every = self.config.train
        started = time.perf_counter() - self.elapsed_seconds
        while self.step < every.steps:
            row = self.train_step()
            self.elapsed_seconds = time.perf_counter() - started
            on_row(self.axes() | row)
            last = self.step == every.steps
            if last or self.step % every.eval_every_steps == 0:
                self.require_finite_weights()
                on_row(self.axes() | self.evaluate())
            self.elapsed_seconds = time.perf_counter() - started
            if last or self.step % every.checkpoint_every_steps == 0:
                self.require_finite_weights()
                self.save(checkpoints)

    def train_step(self) -> Row:
        """Take one optimizer step and return what was measured."""
        optim = self.config.optim
        started = time.perf_counter()
        lr = cosine_schedule(
            self.step + 1,
            max_lr=optim.lr,
            min_lr=cast(float, optim.min_lr),
            warmup_steps=cast(int, optim.warmup_steps),
            cosine_steps=self.config.train.steps,
        )
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        batch = self.loader.batch(self.step)
        loss = self.model.loss(batch.inputs, batch.targets)
        loss.backward()  # type: ignore[no-untyped-call]
        grad_norm = clip_grad_norm(self.model.parameters(), optim.max_grad_norm)
        train_loss, norm = loss.item(), grad_norm.item()
        if not math.isfinite(train_loss) or not math.isfinite(norm):
            raise self.divergence(
                f"step {self.step + 1}: the loss is {train_loss} and the gradient norm {norm}"
            )
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        step_seconds = time.perf_counter() - started
        return {
            "train_loss": train_loss,
            "lr": lr,
            "grad_norm": norm,
            "step_seconds": step_seconds,
            "tokens_per_second": batch.targets.numel() / step_seconds,
            "memory_bytes": memory_bytes(self.device),
        }

    def require_finite_weights(self) -> None:
        """Raise TrainingError if a weight is no longer a finite number."""
        for name, parameter in self.model.named_parameters():
            if not parameter.isfinite().all():
                raise self.divergence(f"step {self.step}: {name} is no longer finite")

    def divergence(self, what: str) -> TrainingError:
        """Return the error that says what is not finite, and the ways out."""
        optim = self.config.optim
        return TrainingError(
            f"{what}; lower optim.lr={optim.lr} or raise optim.warmup_steps={optim.warmup_steps}"
        )

    def axes(self) -> Row:
        """Return what metrics are drawn against."""
        tokens = self.step * self.config.train.batch_size * self.config.model.context_length
        return {
            "step": self.step,
            "tokens": tokens,
            "epochs": tokens / len(self.corpus.train),
            "elapsed_seconds": self.elapsed_seconds,
        }

    def evaluate(self) -> Row:
        """Score the model on validation text and let it write a sample."""
        windows = SequentialWindows(
            self.corpus.val,
            self.config.model.context_length,
            max_windows=self.config.train.eval_windows,
        )
        batches = Loader(windows, self.config.train.batch_size, device=self.device)
        scores = evaluate(self.model, batches, token_bytes(self.corpus.tokenizer).to(self.device))
        return {
            "val_loss": scores.loss,
            "perplexity": scores.perplexity,
            "bits_per_byte": scores.bits_per_byte,
            "sample": self.sample(),
        }

    def sample(self) -> str:
        """Let the model write; the text depends on the weights, the seed and the step alone."""
        ids = generate(
            self.model,
            self.prompt_ids,
            context_length=self.config.model.context_length,
            max_tokens=self.config.log.sample_tokens,
            temperature=0.8,
            top_p=0.95,
            end_token=self.end_id,
            generator=torch.Generator().manual_seed(self.config.train.seed * 2**32 + self.step),
        )
        return self.config.log.sample_prompt + self.corpus.tokenizer.decode(list(ids))

    def save(self, checkpoints: Path) -> None:
        """Write a checkpoint and remove the oldest."""
        state = {
            "step": self.step,
            "elapsed_seconds": self.elapsed_seconds,
            "num_threads": torch.get_num_threads(),
        }
        write_step(step_folder(checkpoints, self.step), self.model, self.optimizer, state)
        remove_old_steps(checkpoints, self.config.train.keep_checkpoints)

    def load(self, checkpoint: Path) -> Row:
        """Go on from a checkpoint of this run.

        Returns:
            What was saved beside weights and optimizer, such as `num_threads`.

        Raises:
            CheckpointError: It is damaged, or is one of another model.
        """
        state = read_step(checkpoint, self.model, self.optimizer)
        self.step = state["step"]
        self.elapsed_seconds = state["elapsed_seconds"]
        return state

    def architecture(self) -> dict[str, Any]:
        """Return the model's shape, its number of parameters, and the shape of each of them."""
        return {
            **dataclasses.asdict(self.config.model),
            "num_parameters": self.model.num_parameters(),
            "parameters": {n: list(p.shape) for n, p in self.model.named_parameters()},
        }


def token_bytes(tokenizer: Tokenizer) -> torch.Tensor:
    """Return the length in bytes of each token, int64 (vocab_size,); 0 for special tokens."""
    lengths = torch.tensor([len(tokenizer.vocab[i]) for i in range(tokenizer.vocab_size)])
    lengths[list(tokenizer.special_tokens.values())] = 0
    return lengths


def find_device(name: str) -> torch.device:
    """Return the device of a name; `auto` is an accelerator where there is one.

    Raises:
        ValueError: The name means nothing, or its device is not on this machine.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError, ImportError) as error:
        reason = str(error).split("\n", 1)[0]
        raise ValueError(f"train.device={name} is not usable here: {reason}") from None
    if device.type == "meta":
        raise ValueError("train.device=meta holds no numbers: use cpu, cuda or mps")
    return device
