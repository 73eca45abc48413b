"""The Ray engine on a real cluster of two nodes, which is started for the whole file."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from bpe_tok import Tokenizer
from tlm_data import (
    END_OF_TEXT,
    BpeTokenizer,
    DocumentOptions,
    ReadOptions,
    find_files,
    prepare_files,
)
from tlm_data.engines import WorkerLostError, start_engine

pytestmark = pytest.mark.timeout(180)
TOKENIZER = BpeTokenizer(Tokenizer.byte_level([END_OF_TEXT]))
# Quiet, small, and nothing sent anywhere.
os.environ.update(
    RAY_USAGE_STATS_ENABLED="0",
    RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO="0",
    RAY_DEDUP_LOGS="0",
    RAY_enable_metrics_collection="0",
)

CLUSTER = """
import sys
from ray.cluster_utils import Cluster
size = {"num_cpus": 1, "object_store_memory": 80 << 20, "include_dashboard": False}
cluster = Cluster(initialize_head=True, head_node_args=size)
cluster.add_node(num_cpus=1, object_store_memory=80 << 20)
cluster.wait_for_nodes()
print(cluster.address, flush=True)
sys.stdin.read()
cluster.shutdown()
"""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A cluster in a process of its own, none of which is left afterwards."""
    pytest.importorskip("ray")
    process = subprocess.Popen(
        [sys.executable, "-c", CLUSTER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # So that the tests' own modules are found by the workers.
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
    )
    assert process.stdin and process.stdout
    try:
        address = process.stdout.readline().strip()
        assert address, process.communicate()[1]
        yield address
    finally:
        family = psutil.Process(process.pid).children(recursive=True)
        process.stdin.close()
        try:
            process.wait(30)
        finally:
            for one in psutil.wait_procs(family, timeout=5)[1]:
                one.kill()
            process.kill()
            process.stdout.close()
            assert process.stderr
            process.stderr.close()


def prepare(text: Path, out: Path, **options: Any) -> None:
    documents = DocumentOptions(read=ReadOptions(separator=END_OF_TEXT), val_fraction=0.1)
    prepare_files(
        find_files([text]),
        out,
        tokenizer=TOKENIZER,
        documents=documents,
        slice_bytes=200_000,
        **options,
    )


def digest(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_a_corpus_is_the_same_although_workers_are_killed(address: str, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text(END_OF_TEXT.join(f"{n}: " + "some words " * (n % 90) for n in range(60_000)))
    out = tmp_path / "out"
    prepare(text, out)
    unbroken = digest(out)
    out.rename(tmp_path / "unbroken")
    code = (
        "import sys; from pathlib import Path; from test_engines_ray import prepare; "
        "prepare(*map(Path, sys.argv[1:3]), engine='ray', ray_address=sys.argv[3])"
    )
    command = [sys.executable, "-W", "error", "-c", code, str(text), str(out), address]
    folder = Path(__file__).parent
    with subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True) as process:
        killed = 0
        manifests = tmp_path / ".out.partial" / "corpus" / "manifests"
        while process.poll() is None:
            # One on each node, once in the middle of the work and once later.
            if killed < 2 and len(list(manifests.glob("*.json"))) >= 15 * (killed + 1):
                for worker in workers_at_work():
                    worker.send_signal(signal.SIGKILL)
                killed += 1
            time.sleep(0.01)
        assert process.returncode == 0, process.communicate()[1]
    assert killed == 2
    assert digest(out) == unbroken
    assert not list(tmp_path.glob(".*"))


def workers_at_work() -> list[psutil.Process]:
    found = [p for p in psutil.process_iter(["cmdline"]) if p.info["cmdline"]]
    return [p for p in found if p.info["cmdline"][0].startswith("ray::_do")]


def square(shared: int, item: int, report: Any) -> int:
    report(item)
    if item < 0:
        raise ValueError(f"{item} is negative")
    return shared + item**2


def die(shared: Path, item: int, report: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_results_errors_and_losses(address: str) -> None:
    code = "import sys, test_engines_ray as here; here.engine_in_a_process_of_its_own(sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, address],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def engine_in_a_process_of_its_own(address: str) -> None:
    with start_engine("ray", square, 100, ray_address=address) as engine:
        assert engine.num_workers == 2
        futures = [engine.submit(item) for item in range(7)]
        assert [future.result() for future in futures] == [100 + n**2 for n in range(7)]
        with pytest.raises(ValueError, match="-1 is negative"):
            engine.submit(-1).result()
    with start_engine("ray", die, None, ray_address=address, num_workers=1) as engine:
        assert engine.num_workers == 1
        with pytest.raises(WorkerLostError, match="3 workers were lost, one after another"):
            engine.submit(0).result()


def test_no_cluster_at_the_address() -> None:
    code = "from tlm_data.engines import start_engine as start\n"
    code += "start('ray', print, None, ray_address='127.0.0.1:1').__enter__()"
    pytest.importorskip("ray")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "ValueError: no Ray cluster answers at ray_address=127.0.0.1:1" in done.stderr
