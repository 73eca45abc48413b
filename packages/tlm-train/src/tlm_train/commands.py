"""What the commands do: each wires the parts and talks to the user."""

import codecs
import dataclasses
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import bpe_tok
import torch
from bpe_tok import Tokenizer
from rich.console import Console
from tlm_data import END_OF_TEXT, Corpus
from tlm_data.progress import ProgressDisplay
from tlm_layers import TransformerLM

from tlm_train.checkpoint import CheckpointError, read_step, steps_on_disk
from tlm_train.config import RunConfig
from tlm_train.corpus import load_corpus
from tlm_train.generate import generate
from tlm_train.metrics import MetricsLog, Row, read_metrics
from tlm_train.report import count_text, duration_text, write_report
from tlm_train.run_folder import RunFolder, refuse_existing
from tlm_train.trainer import Trainer, TrainingError, find_device
from tlm_train.wandb_log import Mode, resolve_mode, start_wandb


def run(config: RunConfig) -> RunFolder:
    """Train a model from raw text, and leave everything in a new run folder.

    Args:
        config: The run's config.

    Raises:
        ValueError: Something in the config or the text is wrong; nothing was trained.
        FileExistsError: `log.run_dir` exists.
    """
    if config.log.run_dir is not None:
        refuse_existing(config.log.run_dir)
    find_device(config.train.device)
    wandb_mode = resolve_mode(config.log.wandb)
    with ProgressDisplay(Console()) as progress:
        corpus = load_corpus(config.data, config.model.vocab_size, progress.update)
        trainer = Trainer(_resolve(config, corpus, progress), corpus)
        folder = RunFolder.create(config.log.run_dir, trainer.config, corpus)
        with folder.locked():
            _train(trainer, folder, progress, wandb_mode)
    return folder


def resume(path: Path) -> RunFolder:
    """Go on with a run from its last whole checkpoint.

    Args:
        path: The run's folder.

    Raises:
        ValueError: The folder is not a run, another process trains in it, its text has changed, or
            every checkpoint is damaged.
    """
    folder, config = RunFolder.open(path)
    wandb_mode = resolve_mode(config.log.wandb)
    with folder.locked(), ProgressDisplay(Console()) as progress:
        checkpoint, passed_over = folder.latest_checkpoint()
        for problem in passed_over:
            progress.say(f"passed over a checkpoint: {problem}")
        if checkpoint is None and passed_over:
            raise CheckpointError(f"no checkpoint of {path} is whole: start a new run")
        # What tlm-data prepared may be too large to read each time; `tlm-data verify` does it.
        corpus = folder.find_corpus(verify=config.data.corpus is None)
        if corpus is None:
            corpus = load_corpus(config.data, config.model.vocab_size, progress.update)
            folder.require_corpus(corpus)
        trainer = Trainer(config, corpus)
        state = trainer.load(checkpoint) if checkpoint is not None else {}
        if trainer.step >= config.train.steps:
            progress.say(
                f"finished at step {trainer.step}; to go on raise steps in {folder.config}"
            )
        else:
            progress.say(f"going on from step {trainer.step} of {config.train.steps}")
        threads = torch.get_num_threads()
        if state.get("num_threads", threads) != threads:
            progress.say(
                f"{threads} threads round sums otherwise than the {state['num_threads']} of before:"
                " the weights will not be those of an unbroken run to the last bit"
            )
        _train(trainer, folder, progress, wandb_mode)
    return folder


def generate_text(
    path: Path,
    *,
    prompt: str,
    max_tokens: int,
    temperature: float,
    top_p: float,
    seed: int | None,
) -> None:
    """Print text from a run's newest checkpoint as it comes.

    Args:
        path: The run's folder.
        prompt: Text to go on from; empty for the start of a document.
        max_tokens: Most tokens to write.
        temperature: See `tlm_train.generate`.
        top_p: See `tlm_train.generate`.
        seed: Fixes the text; None for another text each time.

    Raises:
        ValueError: The folder is not a run, it has no whole checkpoint, or an argument is out of
            its range.
    """
    if seed is not None and not 0 <= seed < 2**63:
        raise ValueError(f"seed={seed} must lie between 0 and 2**63 - 1")
    folder, config = RunFolder.open(path)
    checkpoint, passed_over = folder.latest_checkpoint()
    for problem in passed_over:
        print(f"passed over a checkpoint: {problem}", file=sys.stderr)
    if checkpoint is None:
        raise CheckpointError(f"{path} has no whole checkpoint yet: tlm-train resume {path}")
    tokenizer = Tokenizer.load(folder.tokenizer)
    model = TransformerLM(config.model)
    read_step(checkpoint, model)
    model.to(find_device(config.train.device))
    end = tokenizer.special_tokens[END_OF_TEXT]
    generator = torch.Generator()
    if seed is None:
        generator.seed()  # from the system: torch's own generators all begin alike
    else:
        generator.manual_seed(seed)
    ids = generate(
        model,
        tokenizer.encode(prompt) or [end],
        context_length=config.model.context_length,
        max_tokens=max_tokens,
        temperature=temperature,
        top_p=top_p,
        end_token=end,
        generator=generator,
    )
    for text in _decoded(prompt, ids, tokenizer):
        print(text, end="", flush=True)
    print()


def _decoded(prompt: str, ids: Iterator[int], tokenizer: Tokenizer) -> Iterator[str]:
    """Yield text as soon as its characters are complete."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    yield prompt
    for token in ids:
        yield decoder.decode(tokenizer.decode_bytes([token]))
    yield decoder.decode(b"", True)


def _resolve(config: RunConfig, corpus: Corpus, progress: ProgressDisplay) -> RunConfig:
    """Fill in what only the corpus tells, and make paths independent of the current folder."""
    wanted, found = config.model.vocab_size, corpus.tokenizer.vocab_size
    if found > wanted:
        source = config.data.tokenizer or corpus.path / "tokenizer"
        raise ValueError(
            f"the tokenizer {source} has {found} tokens, more than "
            f"model.vocab_size={wanted}: pass --model.vocab-size {found}"
        )
    if found < wanted:
        progress.say(f"the tokenizer has {found} tokens: model.vocab_size is {found}, not {wanted}")
        config = dataclasses.replace(
            config, model=dataclasses.replace(config.model, vocab_size=found)
        )
    data = config.data
    data = dataclasses.replace(
        data,
        corpus=data.corpus.resolve() if data.corpus else None,
        text=tuple(path.resolve() for path in data.text),
        val_text=tuple(path.resolve() for path in data.val_text),
        tokenizer=data.tokenizer.resolve() if data.tokenizer else None,
        dir=data.dir.resolve(),
    )
    return dataclasses.replace(config, data=data)


def _train(
    trainer: Trainer, folder: RunFolder, progress: ProgressDisplay, wandb_mode: Mode
) -> None:
    config = trainer.config
    architecture = trainer.architecture()
    progress.say(
        f"{config.model.num_layers} layers, d_model {config.model.d_model}, "
        f"{count_text(architecture['num_parameters'])} parameters, "
        f"{count_text(len(trainer.corpus.train))} tokens of text, on {trainer.device} with "
        f"{torch.get_num_threads()} threads"
    )
    progress.say(f"bpe-tok engine: {bpe_tok.engine}")
    wandb = start_wandb(
        wandb_mode,
        project=config.log.wandb_project,
        name=folder.path.name,
        folder=folder.path,
        config={**dataclasses.asdict(config), "architecture": architecture},
        say=progress.say,
    )
    log = MetricsLog(folder.metrics, folder.samples, trainer.step, wandb)

    def on_row(row: Row) -> None:
        step = row["step"]
        if "sample" in row or step % config.log.every_steps == 0 or step == config.train.steps:
            log.log(row)
        if "sample" in row:
            progress.say(_scores_text(row))
            write_report(folder, architecture)
        else:
            progress.update("train", step, config.train.steps, _step_text(row))

    try:
        trainer.train(folder.checkpoints, on_row)
    except TrainingError as error:
        raise ValueError(f"{error}; what the run has left is in {folder.path}") from None
    except KeyboardInterrupt:
        saved = [int(path.name.split("-")[1]) for path in steps_on_disk(folder.checkpoints)]
        raise KeyboardInterrupt(
            f"stopped at step {trainer.step}; to go on from step {max(saved, default=0)}: "
            f"tlm-train resume {shlex.quote(str(folder.path))}"
        ) from None
    finally:
        log.close()
        write_report(folder, architecture)
    _summary(folder, progress, on_own_text=bool(config.data.text or config.data.corpus))


def _step_text(row: Row) -> str:
    return (
        f"step {row['step']}  loss {row['train_loss']:.3f}  lr {row['lr']:.1e}  "
        f"{row['tokens_per_second']:,.0f} tokens/s"
    )


def _scores_text(row: Row) -> str:
    return (
        f"step {row['step']:>5}  validation loss {row['val_loss']:.3f}  "
        f"perplexity {row['perplexity']:.1f}  bits per byte {row['bits_per_byte']:.3f}"
    )


def _summary(folder: RunFolder, progress: ProgressDisplay, on_own_text: bool) -> None:
    rows = [row for row in read_metrics(folder.metrics) if "sample" in row]
    if rows:
        progress.say(f"\nWhat it writes now:\n\n{rows[-1]['sample']}\n")
        progress.say(f"{_scores_text(rows[-1])}  in {duration_text(rows[-1]['elapsed_seconds'])}")
    progress.say(f"run     {folder.path}")
    progress.say(f"report  {folder.report}")
    prompt = "" if on_own_text else ' --prompt "def "'
    progress.say(f"more    tlm-train generate {shlex.quote(str(folder.path))}{prompt}")
