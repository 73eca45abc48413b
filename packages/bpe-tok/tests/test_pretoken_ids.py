import pytest
from bpe_tok._pure import pretoken_ids
from bpe_tok._pure.pretoken_ids import PretokenIds


def test_the_cache_is_bounded_and_keeps_what_is_frequent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretoken_ids, "MAX_CACHED", 10)
    worked_out: list[str] = []

    def work_out(pretoken: str) -> tuple[int, ...]:
        worked_out.append(pretoken)
        return tuple(pretoken.encode())

    cache = PretokenIds(work_out)
    for n in range(100):
        assert cache[str(n)] == tuple(str(n).encode())
        assert cache["often"] == tuple(b"often")
        assert len(cache) <= 10
    assert worked_out.count("often") == 1
    assert cache["x" * 65] == (120,) * 65
    assert "x" * 65 not in cache
