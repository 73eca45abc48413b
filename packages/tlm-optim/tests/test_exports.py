import tlm_optim


def test_exported_names():
    assert tlm_optim.__all__ == [
        "SGD",
        "Adafactor",
        "AdamW",
        "Combined",
        "Lion",
        "Muon",
        "clip_grad_norm",
        "cosine_schedule",
        "orthogonalize",
        "param_groups",
    ]
    assert all(hasattr(tlm_optim, name) for name in tlm_optim.__all__)
