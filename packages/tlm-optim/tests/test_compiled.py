"""Steps under torch.compile."""

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


def walk(make, dtype, compiled):
    torch.manual_seed(0)
    weights = [nn.Parameter(torch.randn(shape).to(dtype)) for shape in ((4, 4), (4, 6), (4, 4))]
    optimizer = make(weights, torch.tensor(0.0))
    step = torch.compile(optimizer.step, backend="aot_eager") if compiled else optimizer.step
    for number in range(6):
        for group in optimizer.param_groups:
            group["lr"].fill_(0.01 * number)
        for weight in weights:
            weight.grad = torch.randn_like(weight)
        step()
    return weights


@pytest.mark.filterwarnings("ignore")  # of dynamo, about what it passes over
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())
def test_equals_the_step_that_is_not_compiled(make, dtype):
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    tolerance = {"rtol": 1e-5, "atol": 1e-6} if dtype == torch.float32 else {}
    compiled = walk(make, dtype, compiled=True)
    graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    torch.testing.assert_close(compiled, walk(make, dtype, compiled=False), **tolerance)
    # One for the first step and at most one more; a learning rate is seen to change without one.
    assert graphs <= 4
