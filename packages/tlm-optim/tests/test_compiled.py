"""Steps under torch.compile."""

import shutil

import pytest
import torch
from tlm_optim import SGD, Adafactor, AdamW, Combined, Lion, Muon
from torch import nn

MAKERS = {
    "AdamW": lambda weights, lr: AdamW(weights, lr),
    "SGD": lambda weights, lr: SGD(weights, lr, 0.9, weight_decay=0.1),
    "Lion": lambda weights, lr: Lion(weights, lr, weight_decay=0.1),
    "Adafactor": lambda weights, lr: Adafactor(weights, lr, weight_decay=0.1),
    "Muon": lambda weights, lr: Muon(weights, lr),
    "Combined": lambda weights, lr: Combined(Muon(weights[:1], lr), AdamW(weights[1:], lr)),
}


def walk(make, dtype, wrap):
    torch.manual_seed(0)
    weights = [nn.Parameter(torch.randn(shape).to(dtype)) for shape in ((4, 4), (4, 6), (4, 4))]
    optimizer = make(weights, torch.tensor(0.0))
    step = wrap(optimizer.step)
    graphs = []
    for number in range(6):
        for group in optimizer.param_groups:
            group["lr"].fill_(0.01 * number)
        for weight in weights:
            weight.grad = torch.randn_like(weight)
        step()
        graphs.append(torch._dynamo.utils.counters["stats"]["unique_graphs"])
    return weights, graphs


@pytest.mark.filterwarnings("ignore")  # of dynamo, about what it passes over
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())
def test_equals_the_step_that_is_not_compiled(make, dtype):
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    compiled, graphs = walk(make, dtype, lambda step: torch.compile(step, backend="aot_eager"))
    plain, _ = walk(make, dtype, lambda step: step)
    torch.testing.assert_close(compiled, plain, rtol=1e-5, atol=1e-6)
    # another learning rate is no reason to compile again
    assert graphs[1:] == [graphs[1]] * 5


@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(not shutil.which("g++"), reason="the default backend needs a C++ compiler")
def test_fused_code_keeps_what_is_rounded_off():
    """The default backend leaves roundings out in the middle of what it fuses."""
    torch._dynamo.reset()
    compiled, _ = walk(MAKERS["Lion"], torch.bfloat16, torch.compile)
    plain, _ = walk(MAKERS["Lion"], torch.bfloat16, lambda step: step)
    torch.testing.assert_close(compiled, plain, rtol=1e-5, atol=1e-6)
