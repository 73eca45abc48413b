"""tlm-layers and tlm-optim beside litgpt, nanoGPT and Hugging Face's Llama, in one process.

    hatch run bench-layers:python tools/bench/layers.py [train memory generate loss]
        [--sizes small medium] [--precisions float32 bf16] [--nanogpt FOLDER] [--compile]
        [--threads 2] [--rounds 9]

Models of one shape: small (4 layers, d_model 256) and medium (8, 512), 8 heads, vocabulary 10,000,
context 256, batch 8; bf16 is autocast over float32 weights, on all sides. The sides take turns;
figures are medians of wall time.

- train: forward, backward, clipping and AdamW (the peers' is torch's fused one).
- memory: the peak resident memory of a process that trains, less that before the model is made.
- generate: 128 tokens from a prompt of 16, batch 1, top-p 0.95, each side with its own cache.
- loss: peak memory of the loss alone at a vocabulary of 50,257, chunked and plain.

nanoGPT is on no registry: give the folder of a clone. A peer that is not installed is left out.
"""

import argparse
import contextlib
import importlib.util
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

import torch
import torch.nn.functional as F
from tlm_layers import ModelConfig, TransformerLM, cross_entropy, linear_cross_entropy
from tlm_layers.accounting import training_flops
from tlm_optim import AdamW, clip_grad_norm, param_groups

SIZES = {"small": (4, 256), "medium": (8, 512)}
VOCAB_SIZE, CONTEXT, BATCH, HEADS = 10_000, 256, 8, 8
PARTS = ("train", "memory", "generate", "loss")


@dataclass
class Side:
    """One library's model: its loss, and the ways to train it and to write with it."""

    name: str
    model: torch.nn.Module
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    optimizer: torch.optim.Optimizer
    clip: Callable[[], torch.Tensor]
    write: Callable[[torch.Tensor, int], int] | None
    """Generate a number of tokens after a prompt, and return how many came."""


def config_of(size: str) -> ModelConfig:
    """The shape of a size."""
    num_layers, d_model = SIZES[size]
    return ModelConfig(
        vocab_size=VOCAB_SIZE,
        context_length=CONTEXT,
        d_model=d_model,
        num_layers=num_layers,
        num_heads=HEADS,
    ).resolved()


def tlm(size: str) -> Side:
    """Ours."""
    config = config_of(size)
    model = TransformerLM(config)

    def write(prompt: torch.Tensor, count: int) -> int:
        from tlm_train import generate

        options = {"context_length": CONTEXT, "max_tokens": count, "top_p": 0.95}
        return len(list(generate(model, prompt.tolist(), **options)))

    return Side(
        "tlm",
        model,
        lambda x, y: model.loss(x, y),
        AdamW(param_groups(model, 0.1)),
        lambda: clip_grad_norm(model.parameters(), 1.0),
        write if importlib.util.find_spec("tlm_train") else None,
    )


def theirs(name: str, model: torch.nn.Module, loss, write) -> Side:
    """A peer: its model, with torch's fused AdamW and torch's clipping."""
    return Side(
        name,
        model,
        loss,
        torch.optim.AdamW(model.parameters(), weight_decay=0.1, fused=True),
        lambda: torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0),
        write,
    )


def hugging_face(size: str) -> Side:
    """Hugging Face's Llama."""
    import transformers

    config = config_of(size)
    model = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=VOCAB_SIZE,
            hidden_size=config.d_model,
            intermediate_size=config.d_ff,
            num_hidden_layers=config.num_layers,
            num_attention_heads=HEADS,
            max_position_embeddings=CONTEXT,
            bos_token_id=None,
            eos_token_id=None,
            pad_token_id=None,
        )
    )

    def loss(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        logits = model(x, use_cache=False).logits
        return F.cross_entropy(logits.float().flatten(0, 1), y.flatten())

    def write(prompt: torch.Tensor, count: int) -> int:
        options = {"do_sample": True, "top_p": 0.95, "top_k": 0, "max_new_tokens": count}
        return model.generate(prompt[None], **options).shape[1] - len(prompt)

    return theirs("Hugging Face", model, loss, write)


def litgpt(size: str) -> Side:
    """The model of litgpt, in Llama's shape."""
    from litgpt.config import Config
    from litgpt.generate.base import generate
    from litgpt.model import GPT
    from litgpt.utils import chunked_cross_entropy

    config = config_of(size)
    model = GPT(
        Config(
            name="bench",
            block_size=CONTEXT,
            vocab_size=VOCAB_SIZE,
            padded_vocab_size=VOCAB_SIZE,
            n_layer=config.num_layers,
            n_head=HEADS,
            n_embd=config.d_model,
            rotary_percentage=1.0,
            parallel_residual=False,
            bias=False,
            norm_class_name="RMSNorm",
            mlp_class_name="LLaMAMLP",
            intermediate_size=config.d_ff,
        )
    )

    def loss(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return chunked_cross_entropy(model(x), y, chunk_size=0)

    def write(prompt: torch.Tensor, count: int) -> int:
        with torch.inference_mode():
            if model.mask_cache is None:
                model.set_kv_cache(batch_size=1)
            total = len(prompt) + count
            return len(generate(model, prompt, total, top_p=0.95, include_prompt=False))

    return theirs("litgpt", model, loss, write)


def nanogpt(size: str, folder: Path) -> Side:
    """The model of nanoGPT: GPT-2's parts, without biases and dropout."""
    sys.path.insert(0, str(folder))
    with contextlib.redirect_stdout(None):
        from model import GPT, GPTConfig

        config = config_of(size)
        model = GPT(
            GPTConfig(
                block_size=CONTEXT,
                vocab_size=VOCAB_SIZE,
                n_layer=config.num_layers,
                n_head=HEADS,
                n_embd=config.d_model,
                dropout=0.0,
                bias=False,
            )
        )
    return theirs("nanoGPT", model, lambda x, y: model(x, y)[1], None)


def sides_of(size: str, folder: Path | None, only: str | None = None) -> list[Side]:
    """All sides that are here, or the one of a name."""
    makers: dict[str, Callable[[], Side]] = {"tlm": lambda: tlm(size)}
    if importlib.util.find_spec("litgpt"):
        makers["litgpt"] = lambda: litgpt(size)
    if folder:
        makers["nanoGPT"] = lambda: nanogpt(size, folder)
    makers["Hugging Face"] = lambda: hugging_face(size)
    return [make() for name, make in makers.items() if only in (None, name)]


def train_step(side: Side, precision: str) -> None:
    """One step of training, on random tokens."""
    ids = torch.randint(VOCAB_SIZE, (BATCH, CONTEXT + 1))
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        loss = side.loss(ids[:, :-1].contiguous(), ids[:, 1:].contiguous())
    loss.backward()
    side.clip()
    side.optimizer.step()
    side.optimizer.zero_grad()


def matmul_peak(precision: str) -> float:
    """FLOP/s of large matrix products, the best of five."""
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    a, b = torch.randn(2, 2048, 2048).to(dtype).unbind()
    best = 0.0
    for _ in range(5):
        started = time.perf_counter()
        a @ b
        best = max(best, 2 * 2048**3 / (time.perf_counter() - started))
    return best


def in_turn(jobs: dict[str, Callable[[], None]], rounds: int, warmup: int) -> dict[str, float]:
    """Median seconds of each job, the jobs taking turns."""
    times: dict[str, list[float]] = {name: [] for name in jobs}
    for number in range(rounds + warmup):
        for name, job in jobs.items():
            started = time.perf_counter()
            job()
            if number >= warmup:
                times[name].append(time.perf_counter() - started)
    return {name: statistics.median(values) for name, values in times.items()}


def show(title: str, rates: dict[str, float], unit: str) -> None:
    """Print the rates of all sides, and how many times the best peer's ours is."""
    print(f"\n{title}")
    for name, rate in rates.items():
        print(f"  {name:14} {rate:8.0f} {unit}")
    peers = [rate for name, rate in rates.items() if not name.startswith("tlm")]
    for name, rate in rates.items():
        if name.startswith("tlm") and peers:
            print(f"  {name} is {rate / max(peers):.3f} of the best peer")


def bench_train(options: argparse.Namespace) -> None:
    """Tokens a second in training."""
    for size in options.sizes:
        for precision in options.precisions:
            sides = sides_of(size, options.nanogpt)
            if options.compile:
                compiled = tlm(size)
                compiled.name = "tlm compiled"
                compiled.model.hidden = torch.compile(compiled.model.hidden)
                sides.append(compiled)
            jobs = {side.name: partial(train_step, side, precision) for side in sides}
            seconds = in_turn(jobs, options.rounds, warmup=2)
            rates = {name: BATCH * CONTEXT / value for name, value in seconds.items()}
            show(f"training, {size}, {precision}", rates, "tokens/s")
            flops, peak = training_flops(config_of(size), BATCH).total, matmul_peak(precision)
            for name in rates:
                if name.startswith("tlm"):
                    share = flops / seconds[name] / peak
                    print(f"  {name} runs at {share:.2f} of the peak, {peak / 1e9:.0f} GFLOP/s")


def bench_memory(options: argparse.Namespace) -> None:
    """Peak memory of training, each side in a process of its own."""
    for size in options.sizes:
        for precision in options.precisions:
            rates = {}
            for side in sides_of(size, options.nanogpt):
                command = [sys.executable, __file__, "peak", "--only", side.name]
                command += ["--sizes", size, "--precisions", precision]
                command += ["--threads", str(options.threads)]
                command += ["--nanogpt", str(options.nanogpt)] if options.nanogpt else []
                output = subprocess.run(command, check=True, capture_output=True, text=True)
                rates[side.name] = float(output.stdout.split()[-1])
            print(f"\npeak memory of training, {size}, {precision}")
            for name, value in rates.items():
                print(f"  {name:14} {value:8.0f} MiB")


def print_peak(options: argparse.Namespace) -> None:
    """Train one side for some steps, and print how much the peak of the memory grew, in MiB."""
    before = peak_mib()
    (side,) = sides_of(options.sizes[0], options.nanogpt, options.only)
    for _ in range(4):
        train_step(side, options.precisions[0])
    print(peak_mib() - before)


def peak_mib() -> float:
    """The peak resident memory of this process, in MiB; from Linux's /proc."""
    # ru_maxrss of a new process begins at that of its parent.
    return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024


def bench_generate(options: argparse.Namespace) -> None:
    """Tokens a second in generation."""
    prompt, count = torch.randint(VOCAB_SIZE, (16,)), 128
    for size in options.sizes:
        sides = [side for side in sides_of(size, None) if side.write]

        for side in sides:
            side.model.eval()
        jobs = {side.name: partial(side.write, prompt, count) for side in sides}
        assert all(job() == count for job in jobs.values())
        seconds = in_turn(jobs, options.rounds, warmup=1)
        show(f"generation, {size}", {name: count / s for name, s in seconds.items()}, "tokens/s")
        model = sides[0].model
        read = sum(p.numel() for p in model.parameters()) - model.token_embeddings.weight.numel()
        weights = torch.randn(read)
        seconds = in_turn({"read": partial(torch.sum, weights)}, rounds=9, warmup=1)["read"]
        print(f"  the weights alone are read {1 / seconds:.0f} times a second")


def bench_loss(options: argparse.Namespace) -> None:
    """Time and peak memory of the loss alone."""
    for kind in ("chunked", "plain"):
        command = [sys.executable, __file__, "peak-loss", "--only", kind]
        output = subprocess.run(command, check=True, capture_output=True, text=True)
        print(
            f"loss and gradients, 2048 x 256, vocabulary 50,257, {kind:8} {output.stdout.strip()}"
        )


def print_peak_loss(options: argparse.Namespace) -> None:
    """Compute one loss with its gradients, and print the time and the growth of the memory."""
    hidden, weight = torch.randn(2048, 256), torch.randn(50_257, 256) / 16
    hidden.requires_grad_()
    weight.requires_grad_()
    targets = torch.randint(50_257, (2048,))
    before, started = peak_mib(), time.perf_counter()
    if options.only == "chunked":
        linear_cross_entropy(hidden, weight, targets).backward()
    else:
        cross_entropy(hidden @ weight.T, targets).backward()
    seconds = time.perf_counter() - started
    print(f"{seconds * 1e3:6.0f} ms {peak_mib() - before:6.0f} MiB")


def main() -> None:
    """Parse the arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", default=PARTS, metavar="part")
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument(
        "--precisions", nargs="+", choices=("float32", "bf16"), default=["float32", "bf16"]
    )
    parser.add_argument("--nanogpt", type=Path)
    parser.add_argument("--compile", action="store_true", help="ours compiled as well")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--only", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    hidden = {"peak": print_peak, "peak-loss": print_peak_loss}
    if options.parts[0] in hidden:
        return hidden[options.parts[0]](options)
    names = ("torch", "litgpt", "transformers")
    versions = [f"{name} {version(name)}" for name in names if importlib.util.find_spec(name)]
    print(", ".join([*versions, f"{options.threads} threads"]))
    benches = dict(zip(PARTS, (bench_train, bench_memory, bench_generate, bench_loss), strict=True))
    for part in options.parts:
        benches[part](options)
    return None


if __name__ == "__main__":
    main()
