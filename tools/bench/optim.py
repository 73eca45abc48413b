"""Steps and clipping of tlm-optim beside torch's, in one process.

    hatch run python tools/bench/optim.py [--threads 2] [--rounds 15] [--only AdamW]

The weights are those of a model of 35M parameters: 8 layers of d_model 512 and d_ff 1344, a
vocabulary of 10,000, float32; Muon has the matrices of the layers alone. A side makes one step of
what it is, the optimizers on weights and gradients of their own. Figures are medians of wall time
with the sides interleaved; a ratio is the median of the ratios of the rounds.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from tlm_optim import SGD, Adafactor, AdamW, Lion, Muon, clip_grad_norm
from torch import Tensor, nn

Side = Callable[[], object]

HIDDEN = [shape for _ in range(8) for shape in [(512, 512)] * 4 + [(1344, 512)] * 2 + [(512, 1344)]]
SHAPES = [(10_000, 512), *HIDDEN, *[(512,)] * 17, (10_000, 512)]


def parameters(
    shapes: list[tuple[int, ...]], dtype: torch.dtype = torch.float32
) -> list[nn.Parameter]:
    """Make weights with gradients."""
    weights = [nn.Parameter(0.02 * torch.randn(shape, dtype=dtype)) for shape in shapes]
    for weight in weights:
        weight.grad = 1e-3 * torch.randn_like(weight)
    return weights


def student_loop(weights: list[nn.Parameter], lr: float = 1e-3) -> Side:
    """Make a step of AdamW as the formulas have it, a parameter and an operation at a time."""
    moments = [(torch.zeros_like(w), torch.zeros_like(w)) for w in weights]
    count = 0

    @torch.no_grad()
    def step() -> None:
        nonlocal count
        count += 1
        for weight, (m, v) in zip(weights, moments, strict=True):
            grad: Tensor = weight.grad
            weight -= lr * 0.01 * weight
            m.mul_(0.9).add_(0.1 * grad)
            v.mul_(0.999).add_(0.001 * grad**2)
            m_hat, v_hat = m / (1 - 0.9**count), v / (1 - 0.999**count)
            weight -= lr * m_hat / (v_hat.sqrt() + 1e-8)

    return step


def comparisons() -> dict[str, Callable[[], dict[str, Side]]]:
    """Name each comparison, with what makes its sides: ours first, then its peers."""
    optim = torch.optim

    def adamw() -> dict[str, Side]:
        return {
            "tlm": AdamW(parameters(SHAPES)).step,
            "torch, fused": optim.AdamW(parameters(SHAPES), fused=True).step,
            "torch, foreach": optim.AdamW(parameters(SHAPES), foreach=True).step,
            "a student's loop": student_loop(parameters(SHAPES)),
        }

    def half() -> dict[str, Side]:
        return {
            "tlm": AdamW(parameters(SHAPES, torch.bfloat16)).step,
            "torch, fused": optim.AdamW(parameters(SHAPES, torch.bfloat16), fused=True).step,
        }

    def clipping() -> dict[str, Side]:
        # of the same gradients: the limit leaves them as they are, after the same work
        weights = parameters(SHAPES)
        return {
            "tlm": lambda: clip_grad_norm(weights, 1e3),
            "torch": lambda: nn.utils.clip_grad_norm_(weights, 1e3),
        }

    def muon() -> dict[str, Side]:
        found = {"tlm": Muon(parameters(HIDDEN)).step}
        if hasattr(optim, "Muon"):
            found["torch"] = optim.Muon(parameters(HIDDEN)).step
        return found

    def sgd() -> dict[str, Side]:
        return {
            "tlm": SGD(parameters(SHAPES), 1e-3, 0.9).step,
            "torch, fused": optim.SGD(parameters(SHAPES), 1e-3, 0.9, fused=True).step,
        }

    def adafactor() -> dict[str, Side]:
        return {
            "tlm": Adafactor(parameters(SHAPES)).step,
            "torch": optim.Adafactor(parameters(SHAPES)).step,
            "torch, foreach": optim.Adafactor(parameters(SHAPES), foreach=True).step,
        }

    def lion() -> dict[str, Side]:
        return {"tlm": Lion(parameters(SHAPES)).step}

    return {
        "AdamW": adamw,
        "clip_grad_norm": clipping,
        "Muon": muon,
        "SGD": sgd,
        "Adafactor": adafactor,
        "Lion": lion,
        "AdamW of bfloat16": half,
    }


def measure(sides: dict[str, Side], rounds: int) -> dict[str, list[float]]:
    """Time the sides in turn, to and fro, in seconds, after two rounds of warm-up."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds + 2):
        for name, step in list(sides.items())[:: -1 if number % 2 else 1]:
            started = time.perf_counter()
            step()
            if number >= 2:
                times[name].append(time.perf_counter() - started)
    return times


def main() -> None:
    """Parse the arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--only", choices=comparisons(), action="append")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    print(f"torch {torch.__version__}, {options.threads} threads")
    for comparison, make in comparisons().items():
        if options.only and comparison not in options.only:
            continue
        times = measure(make(), options.rounds)
        print(comparison)
        for name, values in times.items():
            ratio = statistics.median(
                ours / theirs for ours, theirs in zip(times["tlm"], values, strict=True)
            )
            note = "" if name == "tlm" else f"  tlm takes {ratio:.3f} of it"
            print(f"  {name:18}{1e3 * statistics.median(values):8.1f} ms{note}")


if __name__ == "__main__":
    main()
