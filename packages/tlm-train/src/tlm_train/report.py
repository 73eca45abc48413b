"""The report of a run: one page that opens anywhere, with no network."""

import collections
import io
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from tlm_data import atomic

from tlm_train.metrics import Row, read_metrics
from tlm_train.run_folder import RunFolder

_TRAIN, _VAL, _INK, _GRID = "#2f6fde", "#d9480f", "#40474f", "#e4e7eb"
_STYLE: Any = {
    "axes.edgecolor": _GRID,
    "axes.grid": True,
    "axes.labelcolor": _INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "figure.facecolor": "none",
    "font.family": "sans-serif",
    "font.sans-serif": ["system-ui", "Helvetica", "Arial", "DejaVu Sans"],
    "font.size": 9.5,
    "grid.color": _GRID,
    "legend.frameon": False,
    # Text stays text, in the reader's own font; ids do not change from one report to the next.
    "svg.fonttype": "none",
    "svg.hashsalt": "tlm",
    "text.color": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
}


def write_report(run: RunFolder, architecture: dict[str, Any]) -> Path:
    """Write `report.html` from what a run has logged so far.

    Args:
        run: The run; its config, metrics and name are read.
        architecture: The model's shape, `num_parameters`, and `parameters` with the shape of
            each.

    Returns:
        The page.
    """
    rows = read_metrics(run.metrics)
    train = [row for row in rows if "train_loss" in row]
    evaluations = [row for row in rows if "val_loss" in row]
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("tlm_train"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    page = environment.get_template("report.html.j2").render(
        name=run.path.name,
        facts=_facts(train, evaluations, architecture),
        loss_charts=[
            _loss_chart(train, evaluations, "step", "steps", size=(10.4, 3.6)),
            _loss_chart(train, evaluations, "elapsed_seconds", "wallclock (seconds)"),
            _loss_chart(train, evaluations, "epochs", "epochs"),
        ],
        charts=[
            _chart(train, "lr", "Learning rate"),
            _chart(train, "grad_norm", "Gradient norm before clipping"),
            _chart(train, "step_seconds", "Step time (ms)", scale=1e3),
            _chart(train, "memory_bytes", "Memory (MB)", scale=1e-6),
        ],
        evaluations=evaluations,
        parts=_parameters_by_part(architecture["parameters"]),
        config=run.config.read_text(encoding="utf-8"),
    )
    atomic.write_file(run.report, page)
    return run.report


def _facts(
    train: Sequence[Row], evaluations: Sequence[Row], architecture: dict[str, Any]
) -> list[tuple[str, str]]:
    """Return the figures at the top of the page, as (what, value)."""
    facts = []
    if evaluations:
        last = evaluations[-1]
        facts += [
            ("validation loss", f"{last['val_loss']:.3f}"),
            ("perplexity", f"{last['perplexity']:.1f}"),
            ("bits per byte", f"{last['bits_per_byte']:.3f}"),
        ]
    facts.append(("parameters", count_text(architecture["num_parameters"])))
    if train:
        last = train[-1]
        speed = statistics.median(row["tokens_per_second"] for row in train)
        facts += [
            ("steps", f"{last['step']:,}"),
            ("tokens", count_text(last["tokens"])),
            ("time", duration_text(last["elapsed_seconds"])),
            ("tokens per second", f"{speed:,.0f}"),
        ]
    return facts


def _loss_chart(
    train: Sequence[Row],
    evaluations: Sequence[Row],
    axis: str,
    label: str,
    size: tuple[float, float] = (5.1, 2.9),
) -> str:
    with mpl.rc_context(_STYLE):
        figure, axes = _figure(f"Loss against {label.split(' ')[0]}", size)
        x = [row[axis] for row in train]
        losses = [row["train_loss"] for row in train]
        axes.plot(x, losses, color=_TRAIN, alpha=0.22, linewidth=0.8)
        axes.plot(x, _smooth(losses), color=_TRAIN, linewidth=1.6, label="train, smoothed")
        axes.plot(
            [row[axis] for row in evaluations],
            [row["val_loss"] for row in evaluations],
            color=_VAL,
            linewidth=1.6,
            marker="o",
            markersize=3.5,
            label="validation",
        )
        axes.set_xlabel(label)
        axes.set_ylabel("nats per token")
        axes.legend()
        return _svg(figure)


def _chart(train: Sequence[Row], name: str, title: str, scale: float = 1.0) -> str:
    with mpl.rc_context(_STYLE):
        figure, axes = _figure(title, (5.1, 2.4))
        values = [row[name] * scale for row in train]
        axes.plot([row["step"] for row in train], values, color=_TRAIN, linewidth=1.2)
        axes.set_xlabel("steps")
        axes.set_ylim(bottom=0)
        if values:
            # One slow step, such as the first, should not flatten all the others.
            middle = sorted(values)[int(len(values) * 0.98)]
            axes.set_ylim(0, max(middle * 1.25, 1e-12))
        return _svg(figure)


def _figure(title: str, size: tuple[float, float]) -> tuple[Figure, Axes]:
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title)
    axes.xaxis.set_major_locator(MaxNLocator(8))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.4g}"))
    return figure, axes


def _svg(figure: Figure) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def _smooth(values: Sequence[float], share: float = 0.03) -> list[float]:
    """Return the exponential moving average over about `share` of the series, unbiased."""
    decay = 1 - 1 / max(1.0, len(values) * share)
    total = weight = 0.0
    smoothed = []
    for value in values:
        total = decay * total + value
        weight = decay * weight + 1
        smoothed.append(total / weight)
    return smoothed


def _parameters_by_part(parameters: dict[str, Sequence[int]]) -> list[tuple[str, int]]:
    """Sum parameters over the layers: `layers.3.attn.q_proj.weight` counts as `attn`."""
    parts: collections.Counter[str] = collections.Counter()
    for name, shape in parameters.items():
        pieces = name.split(".")
        part = pieces[2] if pieces[0] == "layers" else pieces[0]
        size = 1
        for length in shape:
            size *= length
        parts["norms" if part.startswith("ln") else part] += size
    return list(parts.items())


def count_text(count: float) -> str:
    """Return a count as people say it: `3.2M`."""
    for unit, size in (("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= size:
            return f"{count / size:.3g}{unit}"
    return f"{count:.0f}"


def duration_text(seconds: float) -> str:
    """Return a duration as people say it: `2 min 5 s`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
