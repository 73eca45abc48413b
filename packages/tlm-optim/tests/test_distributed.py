"""DTensors: steps, clipping and averages are those of the whole tensors.

Two processes, which are this file as a script, run every check once; each test reads how it went.
"""

import json
import os
import subprocess
import sys
import traceback
from pathlib import Path

import pytest
import torch
from tlm_optim import (
    SGD,
    Adafactor,
    AdamW,
    Combined,
    ExponentialMovingAverage,
    Lion,
    Muon,
    clip_grad_norm,
    grad_norm,
    muon_groups,
)
from torch import nn

MAKERS = {
    "AdamW": lambda params: AdamW(params, 1e-2),
    "SGD": lambda params: SGD(params, 1e-2, 0.9, weight_decay=0.1),
    "Lion": lambda params: Lion(params, 1e-2, weight_decay=0.1),
    "Adafactor": lambda params: Adafactor(params, 1e-2, weight_decay=0.1),
    "Muon": lambda params: Muon(params, 1e-2),
}
SHAPES = [(6, 4), (4, 6), (5, 3), (1, 4)]  # of the last two, shards are uneven or empty
RANKS = 2


def draw(shape, seed, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def steps_of(name, dtype):
    """Steps on tensors spread by rows, by columns, and not at all, beside whole ones."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Replicate, Shard, distribute_tensor

    mesh = init_device_mesh("cpu", (RANKS,))
    placements = [[Shard(0)], [Shard(1)], [Shard(0)], [Shard(0)]]
    starts = [draw(shape, seed, dtype) for seed, shape in enumerate(SHAPES)]
    whole = [nn.Parameter(start.clone()) for start in [*starts, starts[0]]]
    spread = [
        nn.Parameter(distribute_tensor(start, mesh, placement))
        for start, placement in zip(starts, placements, strict=True)
    ]
    spread.append(nn.Parameter(starts[0].clone()))  # beside DTensors a plain one
    optimizers = MAKERS[name](whole), MAKERS[name](spread)
    for step in range(4):
        for number, (one, other) in enumerate(zip(whole, spread, strict=True)):
            one.grad = draw(one.shape, 100 * step + number, dtype)
            # the second has gradients that are not spread, which are to be cut to its shards
            placement = [Replicate()] if number == 1 else placements[number % 4]
            is_plain = number == len(SHAPES)
            grad = one.grad.clone()
            other.grad = grad if is_plain else distribute_tensor(grad, mesh, placement)
            if number == 1:
                assert other.grad.placements != other.placements
        for optimizer in optimizers:
            optimizer.step()
    for one, other in zip(whole, spread, strict=True):
        full = other.full_tensor() if hasattr(other, "full_tensor") else other
        torch.testing.assert_close(full.detach(), one.detach())
        assert not torch.equal(full, draw(full.shape, 0, dtype))
    state = {
        key: value.to_local()
        for key, value in optimizers[1].state[spread[0]].items()
        if hasattr(value, "to_local")
    }
    if name != "Adafactor":
        assert all(value.shape == (3, 4) for value in state.values()) and state


def small_model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 7), nn.LayerNorm(7), nn.Linear(7, 5), nn.Linear(5, 3))


def fully_sharded():
    """A model under FSDP 2, clipped, stepped and averaged, beside the same model whole."""
    import torch.distributed as dist
    from torch.distributed.fsdp import fully_shard

    if not hasattr(torch.cpu.current_stream(), "record_event"):
        return "this torch cannot fully_shard on the CPU"

    def make(model):
        hidden, others = muon_groups(model, 0.1)
        return Combined(Muon(hidden, 0.02), AdamW(others, 1e-2))

    whole, spread = small_model(), fully_shard(small_model())
    optimizers = make(whole), make(spread)
    averages = ExponentialMovingAverage(whole, 0.5), ExponentialMovingAverage(spread, 0.5)
    for step in range(4):
        x, y = draw((8, 6), step), draw((8, 3), 100 + step)
        mine = slice(dist.get_rank(), None, RANKS)
        (whole(x) - y).square().mean().backward()
        (spread(x[mine]) - y[mine]).square().mean().backward()
        torch.testing.assert_close(grad_norm(spread.parameters()), grad_norm(whole.parameters()))
        norms = [clip_grad_norm(model.parameters(), 0.5) for model in (whole, spread)]
        torch.testing.assert_close(*norms)
        assert type(norms[1]) is torch.Tensor and norms[0] > 0.5
        torch.testing.assert_close(grad_norm(spread.parameters()), torch.tensor(0.5))
        for model, optimizer, average in zip((whole, spread), optimizers, averages, strict=True):
            optimizer.step()
            optimizer.zero_grad()
            average.update(model)

    def compare():
        for one, other in zip(whole.parameters(), spread.parameters(), strict=True):
            torch.testing.assert_close(other.full_tensor(), one)

    compare()
    with averages[0].applied_to(whole), averages[1].applied_to(spread):
        compare()
    compare()
    resumed = make(spread)
    resumed.load_state_dict(optimizers[1].state_dict())
    x, y = draw((8, 6), 77), draw((8, 3), 78)
    mine = slice(dist.get_rank(), None, RANKS)
    (whole(x) - y).square().mean().backward()
    (spread(x[mine]) - y[mine]).square().mean().backward()
    optimizers[0].step()
    resumed.step()
    compare()


def partial_gradients():
    """Gradients that are sums over processes which are not made yet."""
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import DTensor, Partial, Replicate, distribute_tensor

    mesh = init_device_mesh("cpu", (RANKS,))
    grad = draw((4, 3), 0)
    weight = nn.Parameter(distribute_tensor(torch.ones(4, 3), mesh, [Replicate()]))
    share = 0.25 if dist.get_rank() == 0 else 0.75
    weight.grad = DTensor.from_local(share * grad, mesh, [Partial()])
    torch.testing.assert_close(grad_norm([weight]), grad.norm())
    SGD([weight], lr=1.0).step()
    torch.testing.assert_close(weight.full_tensor().detach(), 1 - grad)


CHECKS = {
    **{
        f"{name} {dtype}": lambda name=name, dtype=dtype: steps_of(name, dtype)
        for name in MAKERS
        for dtype in (torch.float32, torch.bfloat16)
    },
    "fully_shard": fully_sharded,
    "partial gradients": partial_gradients,
}


def run_checks(rank, folder):
    import torch.distributed as dist

    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=RANKS
    )
    results = {}
    for name, check in CHECKS.items():
        try:
            results[name] = check() or "passed"
        except Exception:
            results[name] = traceback.format_exc()
        # the other process may have failed at another place
        failed = torch.tensor(float("Traceback" in results[name]))
        dist.all_reduce(failed)
        if failed:
            break
    (Path(folder) / f"rank{rank}.json").write_text(json.dumps(results))
    dist.barrier()
    sys.stdout.flush()
    os._exit(0)  # with no teardown, in which the one that is last may miss the other


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    if not torch.distributed.is_available() or not torch.distributed.is_gloo_available():
        pytest.skip("this torch has no gloo")
    folder = tmp_path_factory.mktemp("ranks")
    command = [sys.executable, __file__]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [*command, str(rank), str(folder)], env=environment, stderr=subprocess.PIPE, text=True
        )
        for rank in range(RANKS)
    ]
    try:
        for process in processes:
            _, errors = process.communicate(timeout=180)
            assert process.returncode == 0, errors
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    return [json.loads((folder / f"rank{rank}.json").read_text()) for rank in range(RANKS)]


@pytest.mark.parametrize("name", CHECKS)
def test_what_is_spread_over_processes_is_as_the_whole(name, results):
    for result in results:
        outcome = result.get(name, "an earlier check failed")
        if outcome.startswith("this torch cannot"):
            pytest.skip(outcome)
        assert outcome == "passed", outcome


if __name__ == "__main__":
    run_checks(int(sys.argv[1]), sys.argv[2])
