"""Learning rates as pure functions of the step."""

import math


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
    if step < 0 or warmup_steps < 0:
        raise ValueError(f"{step=} and {warmup_steps=} must not be negative")
    if not 0 <= min_lr <= max_lr:
        raise ValueError(f"{min_lr=} must be from 0 to {max_lr=}")
    if cosine_steps < warmup_steps:
        raise ValueError(f"{cosine_steps=} must not be less than {warmup_steps=}")
    if step < warmup_steps:
        return step / warmup_steps * max_lr
    if step >= cosine_steps:
        return min_lr
    progress = (step - warmup_steps) / (cosine_steps - warmup_steps)
    return min_lr + (1 + math.cos(math.pi * progress)) / 2 * (max_lr - min_lr)
