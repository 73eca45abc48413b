"""Try the packages that stand alone in clean virtual environments.

Shows that the wheel of bpe-tok works with neither torch nor numpy there, and those of tlm-layers
and tlm-optim with none of their siblings: `hatch build --all dist && hatch run wheels dist`.
"""

import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ABSENT = """
import importlib.util
for name in {absent!r}:
    assert importlib.util.find_spec(name) is None, f"{{name}} is installed"
"""

BPE_TOK = """
import tempfile
from pathlib import Path
from bpe_tok import Tokenizer, train, train_bpe

folder = Path(tempfile.mkdtemp())
(folder / "text.txt").write_text("the cat sat on the mat<|endoftext|>the end")
vocab, merges = train_bpe(folder / "text.txt", 262, special_tokens=["<|endoftext|>"])
tokenizer = Tokenizer(vocab, merges, ["<|endoftext|>"])
ids = tokenizer.encode("the hat<|endoftext|>")
assert tokenizer.decode(ids) == "the hat<|endoftext|>" and ids[-1] == 256, ids
tokenizer.save(folder / "tokenizer")
assert Tokenizer.load(folder / "tokenizer").encode("the hat<|endoftext|>") == ids
"""

TLM_LAYERS = """
import torch
from tlm_layers import ModelConfig, TransformerLM, cross_entropy

model = TransformerLM(ModelConfig(vocab_size=50, context_length=8, d_model=32, num_heads=2))
ids = torch.randint(50, (2, 8))
cross_entropy(model(ids), ids).backward()
"""

TLM_OPTIM = """
import torch
from tlm_optim import AdamW, clip_grad_norm, cosine_schedule

weight = torch.nn.Parameter(torch.ones(3, 2))
optimizer = AdamW([weight], lr=cosine_schedule(3, 1e-2, 1e-3, 2, 10))
weight.square().sum().backward()
clip_grad_norm([weight], 1.0)
optimizer.step()
assert (weight < 1).all()
"""

SIBLINGS = {"bpe_tok", "tlm_layers", "tlm_optim", "tlm_data", "tlm_train"}
# The version of the workspace's own environment.
TORCH = "torch==2.13.*"
CASES = [
    ("bpe-tok", [], BPE_TOK, {"torch", "numpy"}),
    ("tlm-layers", [TORCH], TLM_LAYERS, set()),
    ("tlm-optim", [TORCH], TLM_OPTIM, set()),
]


def main(wheels: Path) -> None:
    """Install and try; any failure ends with its own output and a non-zero code."""
    with tempfile.TemporaryDirectory() as name:
        for dist, extra, script, absent in CASES:
            import_name = dist.replace("-", "_")
            wheel = max(wheels.glob(f"{import_name}-*.whl"), key=lambda path: path.stat().st_mtime)
            venv.create(Path(name, dist), with_pip=True)
            python = Path(name, dist, "bin", "python")
            subprocess.run([python, "-m", "pip", "install", "--quiet", *extra, wheel], check=True)
            missing = sorted(absent | SIBLINGS - {import_name})
            code = ABSENT.format(absent=missing) + script
            # In an empty folder, so that nothing is imported from the sources.
            subprocess.run([python, "-c", code], check=True, cwd=name)
            print(f"{wheel.name}: works alone, without {', '.join(missing)}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
