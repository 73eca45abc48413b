import tlm_optim


def test_exported_names():
    assert tlm_optim.__all__ == ["AdamW", "clip_grad_norm", "cosine_schedule", "param_groups"]
    assert all(hasattr(tlm_optim, name) for name in tlm_optim.__all__)
