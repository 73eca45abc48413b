import math
import re
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tlm_optim import (
    constant_schedule,
    cosine_schedule,
    inverse_sqrt_schedule,
    join_schedules,
    linear_schedule,
    wsd_schedule,
)


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


def torch_rates(make, steps, lr):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    scheduler = make(optimizer)
    seen = []
    for _ in range(steps):
        seen.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    return seen


@pytest.fixture(scope="module")
def transformers():
    return pytest.importorskip("transformers")


@given(
    st.integers(0, 10),
    st.integers(1, 30),
    st.floats(1e-6, 10.0),
    st.just(0.0) | st.floats(0.0, 1.0),
)
def test_linear_equals_transformers_and_torch(transformers, warmup_steps, length, max_lr, share):
    end = warmup_steps + length
    ours = [linear_schedule(t, max_lr, share * max_lr, warmup_steps, end) for t in range(end + 5)]
    falling = torch_rates(
        lambda optimizer: torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, share, length),
        length + 5,
        max_lr,
    )
    assert ours[warmup_steps:] == pytest.approx(falling, rel=1e-6, abs=1e-9 * max_lr)
    if share == 0:
        theirs = torch_rates(
            lambda optimizer: transformers.get_linear_schedule_with_warmup(
                optimizer, warmup_steps, end
            ),
            end + 5,
            max_lr,
        )
        assert ours == pytest.approx(theirs)


@given(st.integers(1, 20), st.floats(1e-6, 10.0))
def test_constant_and_inverse_sqrt_equal_transformers(transformers, warmup_steps, max_lr):
    theirs = torch_rates(
        lambda optimizer: transformers.get_constant_schedule_with_warmup(optimizer, warmup_steps),
        40,
        max_lr,
    )
    assert [constant_schedule(t, max_lr, warmup_steps) for t in range(40)] == pytest.approx(theirs)
    theirs = torch_rates(
        lambda optimizer: transformers.get_inverse_sqrt_schedule(optimizer, warmup_steps),
        40,
        max_lr,
    )
    ours = [inverse_sqrt_schedule(t, max_lr, warmup_steps) for t in range(40)]
    assert ours == pytest.approx(theirs)


@given(st.integers(0, 10), st.integers(0, 20), st.integers(1, 20), st.floats(0.0, 1.0))
def test_wsd_equals_transformers(transformers, warmup_steps, stable_steps, decay_steps, share):
    total = warmup_steps + stable_steps + decay_steps
    theirs = torch_rates(
        lambda optimizer: transformers.get_wsd_schedule(
            optimizer,
            num_warmup_steps=warmup_steps,
            num_stable_steps=stable_steps,
            num_decay_steps=decay_steps,
            min_lr_ratio=share,
            decay_type="linear",
        ),
        total + 3,
        2.0,
    )
    ours = [
        wsd_schedule(t, 2.0, 2 * share, warmup_steps, decay_steps, total, decay="linear")
        for t in range(total + 3)
    ]
    # theirs warms up from min_lr
    assert ours[warmup_steps:] == pytest.approx(theirs[warmup_steps:])


def test_wsd_decays_as_hagele_et_al_write_it():
    total, decay = 100, 20
    for t in range(80, 101):
        expected = 3e-4 * (1 - math.sqrt((t - (total - decay)) / decay))
        assert wsd_schedule(t, 3e-4, 0.0, 10, decay, total) == pytest.approx(expected)


def test_joined_schedules_count_from_their_own_start():
    flat = partial(constant_schedule, max_lr=1.0, warmup_steps=2)
    fall = partial(linear_schedule, max_lr=1.0, min_lr=0.0, warmup_steps=0, linear_steps=2)
    joined = join_schedules([flat, fall, lambda step: 7.0 + step], [4, 7])
    assert [joined(t) for t in range(9)] == [0.0, 0.5, 1.0, 1.0, 1.0, 0.5, 0.0, 7.0, 8.0]
    assert join_schedules([flat], [])(1) == 0.5


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: linear_schedule(1, 1.0, 0.1, 6, 5), "linear_steps=5 must not be less than warm"),
        (lambda: linear_schedule(-1, 1.0, 0.1, 2, 5), "step=-1 and warmup_steps=2 must not be n"),
        (lambda: constant_schedule(1, -1.0), "min_lr=0.0 must be from 0 to max_lr=-1.0"),
        (lambda: inverse_sqrt_schedule(1, 1.0, 0), "warmup_steps=0 must be at least 1"),
        (lambda: wsd_schedule(1, 1.0, 2.0, 1, 1, 9), "min_lr=2.0 must be from 0 to max_lr=1.0"),
        (lambda: wsd_schedule(1, 1.0, 0.0, 5, 5, 9), "decay_steps=5 must not be negative, and"),
        (lambda: wsd_schedule(1, 1.0, 0.0, 5, -1, 9), "decay_steps=-1 must not be negative, and"),
        (lambda: wsd_schedule(1, 1.0, 0.0, 1, 1, 9, "cosine"), "decay='cosine' must be 'sqrt' or"),
        (lambda: join_schedules([abs], [1]), "1 schedules need 0 boundaries between them, not 1"),
        (lambda: join_schedules([abs] * 3, [5, 5]), "boundaries=[5, 5] must be above 0 and rise"),
        (lambda: join_schedules([abs] * 2, [0]), "boundaries=[0] must be above 0 and rise"),
        (lambda: join_schedules([abs], [])(-1), "step=-1 and warmup_steps=0 must not be neg"),
    ],
)
def test_arguments_out_of_range_of_the_others(call, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        call()
