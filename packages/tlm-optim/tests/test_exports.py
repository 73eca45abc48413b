import tlm_optim


def test_exported_names():
    assert tlm_optim.__all__ == [
        "SGD",
        "Adafactor",
        "AdamW",
        "Combined",
        "ExponentialMovingAverage",
        "GradientNoiseScale",
        "Lion",
        "Muon",
        "ScheduleLR",
        "clip_grad_norm",
        "constant_schedule",
        "cosine_schedule",
        "grad_norm",
        "inverse_sqrt_schedule",
        "join_schedules",
        "linear_schedule",
        "muon_groups",
        "orthogonalize",
        "param_groups",
        "wsd_schedule",
    ]
    assert all(hasattr(tlm_optim, name) for name in tlm_optim.__all__)
