import json
from functools import partial

import pytest
import torch
from tlm_optim import SGD, ScheduleLR, cosine_schedule, inverse_sqrt_schedule
from torch import nn

COSINE = partial(cosine_schedule, max_lr=1.0, min_lr=0.1, warmup_steps=3, cosine_steps=9)
INVERSE = partial(inverse_sqrt_schedule, max_lr=0.5, warmup_steps=2)


def two_groups(**settings):
    return SGD([{"params": [nn.Parameter(torch.ones(2))]} for _ in range(2)], **settings)


def rates(optimizer, scheduler, steps):
    seen = []
    for _ in range(steps):
        seen.append([float(group["lr"]) for group in optimizer.param_groups])
        assert scheduler.get_last_lr() == [group["lr"] for group in optimizer.param_groups]
        optimizer.step()
        scheduler.step()
    return seen


def test_each_group_gets_what_its_schedule_gives():
    optimizer = two_groups()
    scheduler = ScheduleLR(optimizer, [COSINE, INVERSE])
    assert isinstance(scheduler, torch.optim.lr_scheduler.LRScheduler)
    assert rates(optimizer, scheduler, 12) == [[COSINE(t), INVERSE(t)] for t in range(12)]


def test_one_schedule_for_all_groups():
    optimizer = two_groups()
    assert rates(optimizer, ScheduleLR(optimizer, COSINE), 3) == [[COSINE(t)] * 2 for t in range(3)]


def test_its_state_is_the_step():
    optimizer = two_groups()
    scheduler = ScheduleLR(optimizer, COSINE)
    rates(optimizer, scheduler, 5)
    state = json.loads(json.dumps(scheduler.state_dict()))
    assert state == {"last_epoch": 5}
    other = two_groups()
    resumed = ScheduleLR(other, COSINE)
    resumed.load_state_dict(state)
    assert rates(other, resumed, 3) == [[COSINE(t)] * 2 for t in range(5, 8)]


def test_a_rate_that_is_a_tensor_is_written_in_place():
    lr = torch.tensor(0.0)
    optimizer = SGD([nn.Parameter(torch.ones(2))], lr=lr)
    scheduler = ScheduleLR(optimizer, COSINE)
    optimizer.step()
    scheduler.step()
    assert optimizer.param_groups[0]["lr"] is lr
    assert lr.item() == pytest.approx(COSINE(1))
    scheduler.load_state_dict({"last_epoch": 3})
    assert optimizer.param_groups[0]["lr"] is lr
    assert lr.item() == 1.0


def test_a_schedule_for_each_group_or_one_for_all():
    with pytest.raises(ValueError, match="3 schedules for 2 groups: give one each"):
        ScheduleLR(two_groups(), [COSINE] * 3)
