"""Draw the schedules of tlm-optim: `python docs/plot_schedules.py` writes docs/schedules.svg.

The picture is plain SVG, written here, so that it needs no plotting library; its greys and colours
can be read on light and dark ground.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from tlm_optim import (
    constant_schedule,
    cosine_schedule,
    inverse_sqrt_schedule,
    join_schedules,
    linear_schedule,
    wsd_schedule,
)

STEPS = 1000
WARMUP = {"max_lr": 1.0, "warmup_steps": 100}
SCHEDULES: dict[str, Callable[[int], float]] = {
    "cosine_schedule": partial(cosine_schedule, **WARMUP, min_lr=0.1, cosine_steps=900),
    "linear_schedule": partial(linear_schedule, **WARMUP, min_lr=0.0, linear_steps=900),
    "constant_schedule": partial(constant_schedule, **WARMUP),
    "wsd_schedule": partial(
        wsd_schedule, **WARMUP, min_lr=0.0, decay_steps=200, total_steps=1000, decay="sqrt"
    ),
    "inverse_sqrt_schedule": partial(inverse_sqrt_schedule, **WARMUP),
    "join_schedules of two cosines": join_schedules(
        [
            partial(cosine_schedule, **WARMUP, min_lr=0.1, cosine_steps=500),
            partial(cosine_schedule, max_lr=0.6, min_lr=0.0, warmup_steps=50, cosine_steps=500),
        ],
        boundaries=[500],
    ),
}
COLOURS = ("#3b82c4", "#d97a1f", "#4a9a4a", "#c8504f", "#8a6bbe", "#8c6d5a")
WIDTH, HEIGHT, MARGIN, COLUMNS = 230, 110, 34, 3


def panel(name: str, schedule: Callable[[int], float], colour: str, left: int, top: int) -> str:
    """Draw one schedule in its frame."""
    points = " ".join(
        f"{left + WIDTH * step / STEPS:.1f},{top + HEIGHT * (1 - schedule(step)):.1f}"
        for step in range(0, STEPS + 1, 4)
    )
    labels = [
        (left, top + HEIGHT + 14, "start", "0"),
        (left + WIDTH, top + HEIGHT + 14, "end", f"step {STEPS}"),
        (left - 5, top + 8, "end", "1"),
        (left - 5, top + HEIGHT, "end", "0"),
    ]
    texts = "".join(
        f'<text x="{x}" y="{y}" text-anchor="{anchor}">{text}</text>'
        for x, y, anchor, text in labels
    )
    return (
        f'<path d="M{left} {top}V{top + HEIGHT}H{left + WIDTH}" stroke="#888" fill="none"/>{texts}'
        f'<text x="{left}" y="{top - 9}" font-size="13" fill="{colour}">{name}</text>'
        f'<polyline points="{points}" stroke="{colour}" stroke-width="2" fill="none"/>'
    )


def picture() -> str:
    """Draw all schedules, three in a row."""
    panels = []
    for number, (name, schedule) in enumerate(SCHEDULES.items()):
        row, column = divmod(number, COLUMNS)
        left = MARGIN + column * (WIDTH + MARGIN)
        top = MARGIN + row * (HEIGHT + 2 * MARGIN - 10)
        panels.append(panel(name, schedule, COLOURS[number], left, top))
    rows = -(-len(SCHEDULES) // COLUMNS)
    width = MARGIN + COLUMNS * (WIDTH + MARGIN)
    height = rows * (HEIGHT + 2 * MARGIN - 10)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'font-family="sans-serif" font-size="11" fill="#888" role="img" '
        f'aria-label="Learning rates of six schedules over {STEPS} steps">\n'
        + "\n".join(panels)
        + "\n</svg>\n"
    )


if __name__ == "__main__":
    Path(__file__).with_name("schedules.svg").write_text(picture(), encoding="utf-8")
