import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

from tlm_train.config import RunConfig, to_toml
from tlm_train.metrics import MetricsLog
from tlm_train.report import count_text, duration_text, write_report
from tlm_train.run_folder import RunFolder

ARCHITECTURE = {
    "num_parameters": 1234,
    "parameters": {
        "token_embeddings.weight": [10, 4],
        "layers.0.attn.q_proj.weight": [4, 4],
        "layers.1.attn.q_proj.weight": [4, 4],
        "layers.0.ln1.weight": [4],
        "ln_final.weight": [4],
    },
}


def make_run(tmp_path: Path, steps: int, sample: str = "def f():") -> RunFolder:
    run = RunFolder(tmp_path / "my-run")
    run.path.mkdir()
    run.config.write_text(to_toml(RunConfig()), encoding="utf-8")
    log = MetricsLog(run.metrics, run.samples, step=0)
    for step in range(1, steps + 1):
        axes = {"step": step, "tokens": 1000 * step, "epochs": step / 9, "elapsed_seconds": step}
        log.log(
            axes
            | {
                "train_loss": 8 - 0.1 * step,
                "lr": 1e-3,
                "grad_norm": 1.0,
                "step_seconds": 0.1,
                "tokens_per_second": 10_000,
                "memory_bytes": 10**9,
            }
        )
        if step % 5 == 0:
            scores = {"val_loss": 7.123, "perplexity": 1240.2, "bits_per_byte": 2.5}
            log.log(axes | scores | {"sample": sample})
    log.close()
    return run


class Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found += [
            f"{tag} {name}={value}"
            for name, value in attributes
            if name in ("src", "href", "xlink:href") and not (value or "").startswith("#")
        ]
        if tag in ("script", "link", "img", "iframe"):
            self.found.append(tag)


def test_the_page_needs_nothing_from_outside(tmp_path: Path) -> None:
    page = write_report(make_run(tmp_path, 20), ARCHITECTURE).read_text(encoding="utf-8")
    links = Links()
    links.feed(page)
    assert links.found == []
    assert "url(http" not in page and "@import" not in page


def test_every_chart_is_drawn(tmp_path: Path) -> None:
    page = write_report(make_run(tmp_path, 20), ARCHITECTURE).read_text(encoding="utf-8")
    charts = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    titles = [
        "Loss against steps",
        "Loss against wallclock",
        "Loss against epochs",
        "Learning rate",
        "Gradient norm",
        "Step time",
        "Memory",
    ]
    assert len(charts) == len(titles)
    for chart, title in zip(charts, titles, strict=True):
        text = "".join(ET.fromstring(chart).itertext())
        assert title in text


def test_the_figures_are_the_logged_ones(tmp_path: Path) -> None:
    page = write_report(make_run(tmp_path, 20), ARCHITECTURE).read_text(encoding="utf-8")
    for text in ("my-run", "7.123", "1240.2", "2.500", "1.23k", "20k", "20 s", "10,000"):
        assert text in page
    assert re.search(r"attn</td><td>32<", page) and re.search(r"norms</td><td>8<", page)
    assert "lr = 0.002" in page


def test_samples_are_text_not_markup(tmp_path: Path) -> None:
    run = make_run(tmp_path, 5, sample="<script>alert(1)</script>")
    page = write_report(run, ARCHITECTURE).read_text(encoding="utf-8")
    assert "<script>" not in page and "&lt;script&gt;" in page


def test_a_run_that_has_logged_nothing_has_a_page(tmp_path: Path) -> None:
    page = write_report(make_run(tmp_path, 0), ARCHITECTURE).read_text(encoding="utf-8")
    assert "No evaluation yet" in page and "nan" not in page


def test_counts_and_durations() -> None:
    assert [count_text(n) for n in (7, 1500, 5_312_256, 2e9)] == ["7", "1.5k", "5.31M", "2B"]
    assert [duration_text(s) for s in (3.4, 125, 7325)] == ["3 s", "2 min 5 s", "2 h 2 min"]
