"""A training step of tlm-layers and tlm-optim beside Hugging Face's Llama, in one process.

    hatch run python tools/bench/layers.py [--threads 2] [--rounds 15] [--vocab-size 4096]

Both models have the same shape: 4 layers, d_model 256, 8 heads, batch 8 x 256, float32. A step is
forward, backward, clipping and AdamW (Hugging Face's with torch's fused one). Figures are medians
of wall time, sides interleaved.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
import transformers
from tlm_layers import ModelConfig, TransformerLM, cross_entropy
from tlm_optim import AdamW, clip_grad_norm, param_groups

Step = Callable[[torch.Tensor], None]


def our_step(config: ModelConfig) -> Step:
    """Make a training step of ours."""
    model = TransformerLM(config)
    optimizer = AdamW(param_groups(model, 0.1))

    def step(ids: torch.Tensor) -> None:
        cross_entropy(model(ids[:, :-1]), ids[:, 1:]).backward()
        clip_grad_norm(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


def hf_step(config: ModelConfig, d_ff: int) -> Step:
    """Make a training step of Hugging Face's Llama of the same shape."""
    model = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=config.vocab_size,
            hidden_size=config.d_model,
            intermediate_size=d_ff,
            num_hidden_layers=config.num_layers,
            num_attention_heads=config.num_heads,
            max_position_embeddings=config.context_length,
        )
    )
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.1, fused=True)

    def step(ids: torch.Tensor) -> None:
        logits = model(ids[:, :-1], use_cache=False).logits
        torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


def main() -> None:
    """Parse the arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--vocab-size", type=int, default=4096)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)

    config = ModelConfig(vocab_size=options.vocab_size, context_length=256)
    d_ff = TransformerLM(config).layers[0].ffn.w1.weight.shape[0]
    sides = {"tlm": our_step(config), "Llama": hf_step(config, d_ff)}
    times: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(options.rounds + 2):
        ids = torch.randint(config.vocab_size, (8, config.context_length + 1))
        for name, step in sides.items():
            started = time.perf_counter()
            step(ids)
            if number >= 2:
                times[name].append(time.perf_counter() - started)
    tokens = 8 * config.context_length
    speed = {name: tokens / statistics.median(values) for name, values in times.items()}
    print(f"torch {torch.__version__}, transformers {transformers.__version__}, ", end="")
    print(f"{options.threads} threads, vocabulary {config.vocab_size}")
    for name, value in speed.items():
        print(f"  {name:6} {value:8.0f} tokens/s")
    print(f"  ratio  {speed['tlm'] / speed['Llama']:8.3f}")


if __name__ == "__main__":
    main()
