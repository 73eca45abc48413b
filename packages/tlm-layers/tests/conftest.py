import pytest
import torch
from hypothesis import register_random


class TorchRandom:
    """Gives each example of Hypothesis the same random tensors whenever it is run again."""

    def seed(self, seed):
        torch.manual_seed(seed)

    def getstate(self):
        return torch.get_rng_state()

    def setstate(self, state):
        torch.set_rng_state(state)


TORCH_RANDOM = TorchRandom()  # Hypothesis holds a weak reference
register_random(TORCH_RANDOM)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)
