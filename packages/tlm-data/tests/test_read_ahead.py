from pathlib import Path

import numpy as np
import pytest
from tlm_data import read_ahead
from tlm_data.mapping import map_file


def test_advice_leaves_the_bytes_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = np.arange(50_000, dtype="<u2")
    tokens.tofile(tmp_path / "tokens.bin")
    mapped = map_file(tmp_path / "tokens.bin", tokens.dtype, len(tokens))
    memmap = np.memmap(tmp_path / "tokens.bin", dtype="<u2", mode="r")
    monkeypatch.setattr(read_ahead, "_memory_bytes", lambda: 1000)
    for array in (tokens, mapped, memmap):
        read_ahead.expect_random_reads([array])
        for part in (array, array[3000:], array[5000:5001], array[7:7]):
            read_ahead.start_reading(part)
        assert np.array_equal(array, tokens)


def test_memory_is_known_here() -> None:
    assert read_ahead._memory_bytes() > 1 << 28
