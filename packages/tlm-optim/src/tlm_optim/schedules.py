"""Learning rates as pure functions of the step."""

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import Literal

Schedule = Callable[[int], float]
"""Steps taken so far to a learning rate."""


def cosine_schedule(
    step: int, max_lr: float, min_lr: float, warmup_steps: int, cosine_steps: int
) -> float:
    """Linear from 0 to `max_lr`, half a cosine down to `min_lr`, then `min_lr`.

    With w = `warmup_steps` and c = `cosine_steps`, the rate at step t is

    - t / w · max_lr for t < w,
    - min_lr + (1 + cos(π (t − w) / (c − w))) / 2 · (max_lr − min_lr) for w ≤ t ≤ c,
    - min_lr for t > c.

    Follows Loshchilov and Hutter 2016, https://arxiv.org/abs/1608.03983, with one cycle.

    Args:
        step: steps taken so far; the first step has 0.
        max_lr: the rate at the end of the warm-up.
        min_lr: the rate at the end of the cosine and after it.
        warmup_steps: length of the warm-up, in steps; 0: none.
        cosine_steps: the step at which the cosine ends, counted from 0, warm-up included.

    Returns:
        The learning rate.

    Raises:
        ValueError: a negative value, `min_lr` above `max_lr`, or a cosine that ends before the
            warm-up does.

    Example:
        >>> [cosine_schedule(t, 1.0, 0.1, warmup_steps=2, cosine_steps=6) for t in (0, 1, 2, 4, 6)]
        [0.0, 0.5, 1.0, 0.55, 0.1]
    """
    _check(step, max_lr, min_lr, warmup_steps)
    if cosine_steps < warmup_steps:
        raise ValueError(f"{cosine_steps=} must not be less than {warmup_steps=}")
    if step < warmup_steps:
        return step / warmup_steps * max_lr
    if step >= cosine_steps:
        return min_lr
    progress = (step - warmup_steps) / (cosine_steps - warmup_steps)
    return min_lr + (1 + math.cos(math.pi * progress)) / 2 * (max_lr - min_lr)


def linear_schedule(
    step: int, max_lr: float, min_lr: float, warmup_steps: int, linear_steps: int
) -> float:
    """Linear from 0 to `max_lr`, linear down to `min_lr`, then `min_lr`.

    With w = `warmup_steps` and l = `linear_steps`, the rate at step t is

    - t / w · max_lr for t < w,
    - max_lr − (t − w) / (l − w) · (max_lr − min_lr) for w ≤ t ≤ l,
    - min_lr for t > l.

    Down to 0 it is the schedule of Devlin et al. 2018, https://arxiv.org/abs/1810.04805.

    Args:
        step: steps taken so far; the first step has 0.
        max_lr: the rate at the end of the warm-up.
        min_lr: the rate at the end of the fall and after it.
        warmup_steps: length of the warm-up, in steps; 0: none.
        linear_steps: the step at which the fall ends, counted from 0, warm-up included.

    Returns:
        The learning rate.

    Raises:
        ValueError: a negative value, `min_lr` above `max_lr`, or a fall that ends before the
            warm-up does.

    Example:
        >>> [linear_schedule(t, 1.0, 0.5, warmup_steps=2, linear_steps=6) for t in (0, 1, 2, 4, 6)]
        [0.0, 0.5, 1.0, 0.75, 0.5]
    """
    _check(step, max_lr, min_lr, warmup_steps)
    if linear_steps < warmup_steps:
        raise ValueError(f"{linear_steps=} must not be less than {warmup_steps=}")
    if step < warmup_steps:
        return step / warmup_steps * max_lr
    if step >= linear_steps:
        return min_lr
    return max_lr - (step - warmup_steps) / (linear_steps - warmup_steps) * (max_lr - min_lr)


def constant_schedule(step: int, max_lr: float, warmup_steps: int = 0) -> float:
    """Linear from 0 to `max_lr`, then `max_lr`.

    Args:
        step: steps taken so far; the first step has 0.
        max_lr: the rate at the end of the warm-up and after it.
        warmup_steps: length of the warm-up, in steps; 0: none.

    Returns:
        The learning rate.

    Raises:
        ValueError: a negative value.

    Example:
        >>> [constant_schedule(t, 1.0, warmup_steps=2) for t in (0, 1, 2, 100)]
        [0.0, 0.5, 1.0, 1.0]
    """
    _check(step, max_lr, 0.0, warmup_steps)
    return step / warmup_steps * max_lr if step < warmup_steps else max_lr


def wsd_schedule(
    step: int,
    max_lr: float,
    min_lr: float,
    warmup_steps: int,
    decay_steps: int,
    total_steps: int,
    decay: Literal["sqrt", "linear"] = "sqrt",
) -> float:
    """Warm up, stay, decay: linear from 0 to `max_lr`, then `max_lr`, at the end down to `min_lr`.

    With w = `warmup_steps`, d = `decay_steps` and n = `total_steps`, the rate at step t is

    - t / w · max_lr for t < w,
    - max_lr for w ≤ t ≤ n − d,
    - max_lr − f(p) · (max_lr − min_lr) for n − d < t ≤ n, with p = (t − (n − d)) / d,
    - min_lr for t > n,

    where f(p) is sqrt(p), or p for a linear decay. As nothing before the decay depends on n, one
    run can end at several lengths: go on from a checkpoint of the flat part. Follows Hu et al.
    2024, https://arxiv.org/abs/2404.06395, and for the form of the decay Hägele et al. 2024,
    https://arxiv.org/abs/2405.18392, who find "1-sqrt" best and a fifth of all steps enough.

    Args:
        step: steps taken so far; the first step has 0.
        max_lr: the rate of the flat part.
        min_lr: the rate at the end of the decay and after it.
        warmup_steps: length of the warm-up, in steps; 0: none.
        decay_steps: length of the decay, in steps; 0: none.
        total_steps: the step at which the decay ends, counted from 0.
        decay: "sqrt" or "linear".

    Returns:
        The learning rate.

    Raises:
        ValueError: a negative value, `min_lr` above `max_lr`, parts longer than the whole, or
            another form of decay.

    Example:
        >>> [wsd_schedule(t, 1.0, 0.0, 2, 4, 10) for t in (0, 1, 2, 6, 7, 10)]
        [0.0, 0.5, 1.0, 1.0, 0.5, 0.0]
    """
    _check(step, max_lr, min_lr, warmup_steps)
    if decay_steps < 0 or total_steps < warmup_steps + decay_steps:
        raise ValueError(
            f"{decay_steps=} must not be negative, and with {warmup_steps=} not be more than "
            f"{total_steps=}"
        )
    if decay not in ("sqrt", "linear"):
        raise ValueError(f"{decay=} must be 'sqrt' or 'linear'")
    if step < warmup_steps:
        return step / warmup_steps * max_lr
    if step >= total_steps:
        return min_lr
    if step <= total_steps - decay_steps:
        return max_lr
    progress = (step - (total_steps - decay_steps)) / decay_steps
    share = math.sqrt(progress) if decay == "sqrt" else progress
    return max_lr - share * (max_lr - min_lr)


def inverse_sqrt_schedule(step: int, max_lr: float, warmup_steps: int) -> float:
    """Linear from 0 to `max_lr`, then falling with the root of the step, without an end.

    With w = `warmup_steps`, the rate at step t is

    - t / w · max_lr for t < w,
    - sqrt(w / t) · max_lr for t ≥ w.

    Follows Vaswani et al. 2017, https://arxiv.org/abs/1706.03762 (section 5.3), whose rate has
    max_lr = 1 / sqrt(d_model · w).

    Args:
        step: steps taken so far; the first step has 0.
        max_lr: the rate at the end of the warm-up.
        warmup_steps: length of the warm-up, in steps, at least 1.

    Returns:
        The learning rate.

    Raises:
        ValueError: a negative value, or no warm-up.

    Example:
        >>> [inverse_sqrt_schedule(t, 1.0, warmup_steps=4) for t in (0, 2, 4, 16, 64)]
        [0.0, 0.5, 1.0, 0.5, 0.25]
    """
    _check(step, max_lr, 0.0, warmup_steps)
    if warmup_steps < 1:
        raise ValueError(f"{warmup_steps=} must be at least 1: it sets how fast the rate falls")
    if step < warmup_steps:
        return step / warmup_steps * max_lr
    return math.sqrt(warmup_steps / step) * max_lr


def join_schedules(schedules: Sequence[Schedule], boundaries: Sequence[int]) -> Schedule:
    """Make one schedule of several, one after the other, each counting from its own start.

    Args:
        schedules: functions of a step, one more than boundaries.
        boundaries: the steps at which the second and later ones begin, rising.

    Returns:
        A function of a step.

    Raises:
        ValueError: the counts do not fit, or the boundaries do not rise.

    Example:
        >>> from functools import partial
        >>> restarts = join_schedules(
        ...     [partial(linear_schedule, max_lr=lr, min_lr=0.0, warmup_steps=0, linear_steps=4)
        ...      for lr in (1.0, 0.5)],
        ...     boundaries=[4],
        ... )
        >>> [restarts(step) for step in range(9)]
        [1.0, 0.75, 0.5, 0.25, 0.5, 0.375, 0.25, 0.125, 0.0]
    """
    if len(schedules) != len(boundaries) + 1:
        raise ValueError(
            f"{len(schedules)} schedules need {len(schedules) - 1} boundaries between them, "
            f"not {len(boundaries)}"
        )
    starts = [0, *boundaries]
    if sorted(set(starts)) != starts:
        raise ValueError(f"{boundaries=} must be above 0 and rise")

    def joined(step: int) -> float:
        _check(step, 0.0, 0.0, 0)
        index = bisect_right(starts, step) - 1
        return schedules[index](step - starts[index])

    return joined


def _check(step: int, max_lr: float, min_lr: float, warmup_steps: int) -> None:
    if step < 0 or warmup_steps < 0:
        raise ValueError(f"{step=} and {warmup_steps=} must not be negative")
    if not 0 <= min_lr <= max_lr:
        raise ValueError(f"{min_lr=} must be from 0 to {max_lr=}")
