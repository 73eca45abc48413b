import pytest
from bpe_tok._pure import pretoken_ids
from bpe_tok._pure.pretoken_ids import PretokenIds


def test_the_cache_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretoken_ids, "MAX_CACHED", 10)
    cache = PretokenIds(lambda pretoken: tuple(pretoken.encode()))
    for n in range(100):
        assert cache[str(n)] == tuple(str(n).encode())
        assert len(cache) <= 10
    assert cache["x" * 65] == (120,) * 65
    assert "x" * 65 not in cache
