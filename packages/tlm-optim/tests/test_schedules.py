import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tlm_optim import cosine_schedule


@given(st.integers(0, 20), st.integers(1, 60), st.floats(1e-6, 10.0), st.floats(0.0, 1.0))
def test_equals_the_schedulers_of_torch(warmup_steps, cosine_length, max_lr, share):
    min_lr = share * max_lr
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=max_lr)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, cosine_length, min_lr)
    for step in range(warmup_steps, warmup_steps + cosine_length + 1):
        ours = cosine_schedule(step, max_lr, min_lr, warmup_steps, warmup_steps + cosine_length)
        assert ours == pytest.approx(scheduler.get_last_lr()[0], rel=1e-6, abs=1e-9 * max_lr)
        optimizer.step()
        scheduler.step()


def test_edges():
    def lr(step):
        return cosine_schedule(step, 1.0, 0.1, warmup_steps=10, cosine_steps=30)

    assert [lr(0), lr(5), lr(10), lr(30), lr(31), lr(10**9)] == [0.0, 0.5, 1.0, 0.1, 0.1, 0.1]
    assert lr(20) == pytest.approx(0.55)


def test_no_warmup_starts_at_the_top():
    assert cosine_schedule(0, 1.0, 0.1, warmup_steps=0, cosine_steps=10) == 1.0


def test_no_cosine_falls_at_once():
    assert cosine_schedule(4, 1.0, 0.1, warmup_steps=5, cosine_steps=5) == 0.8
    assert cosine_schedule(5, 1.0, 0.1, warmup_steps=5, cosine_steps=5) == 0.1
    assert cosine_schedule(0, 1.0, 0.1, warmup_steps=0, cosine_steps=0) == 0.1


@given(st.integers(0, 500), st.integers(0, 100), st.integers(0, 300))
def test_stays_in_its_range_and_falls_after_the_warmup(step, warmup_steps, cosine_length):
    rates = [
        cosine_schedule(t, 3e-4, 3e-5, warmup_steps, warmup_steps + cosine_length)
        for t in (step, step + 1)
    ]
    assert all(0 <= rate <= 3e-4 for rate in rates)
    if step >= warmup_steps:
        assert rates[0] >= rates[1] >= 3e-5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((-1, 1.0, 0.1, 2, 5), "step=-1 and warmup_steps=2 must not be negative"),
        ((1, 1.0, 0.1, -2, 5), "step=1 and warmup_steps=-2 must not be negative"),
        ((1, 1.0, 2.0, 2, 5), "min_lr=2.0 must be from 0 to max_lr=1.0"),
        ((1, 1.0, -0.1, 2, 5), "min_lr=-0.1 must be from 0 to max_lr=1.0"),
        ((1, 1.0, 0.1, 6, 5), "cosine_steps=5 must not be less than warmup_steps=6"),
    ],
)
def test_arguments_out_of_range(arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        cosine_schedule(*arguments)
