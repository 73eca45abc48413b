import pytest
import torch
import torch.nn.functional as F
from hypothesis import register_random
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


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


class Allocations(TorchDispatchMode):
    """Records the memory that operations ask for, forward and backward: not views, not in-place."""

    def __init__(self):
        super().__init__()
        self.largest = 0
        """Elements of the greatest tensor."""
        self.total_bytes = 0
        """Bytes of all tensors together, whether they were alive at once or not."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        given = {
            x.untyped_storage().data_ptr() for x in tree_leaves((args, kwargs)) if is_tensor(x)
        }
        for x in filter(is_tensor, tree_leaves(out)):
            storage = x.untyped_storage()
            if storage.data_ptr() not in given:
                self.largest = max(self.largest, storage.nbytes() // x.element_size())
                self.total_bytes += storage.nbytes()
        return out


def is_tensor(x):
    return isinstance(x, Tensor)


@pytest.fixture(scope="session")
def record_allocations():
    return Allocations


TOLERANCES = {
    torch.float64: {"rtol": 1e-9, "atol": 1e-11},
    torch.float32: {"rtol": 1e-4, "atol": 2e-5},
    # Weights and sums are rounded to 8 bits on the way.
    torch.bfloat16: {"rtol": 3e-2, "atol": 3e-2},
}


def exact_attention(q, k, v, mask):
    """Torch's own plain form; groups of query heads share keys and values."""
    if mask.ndim > 2:
        mask = mask.unsqueeze(-3)  # an axis for the heads
    with sdpa_kernel(SDPBackend.MATH):
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=True)


@pytest.fixture(scope="session")
def check_pattern():
    """Holds a pattern to a plain form that is computed in float64, with its gradients."""

    def check(pattern, leading, num_kv_heads, group, seq, head_dim, dtype, mask=None, **options):
        plain = options.pop("plain", exact_attention)
        heads = num_kv_heads * group
        q = torch.randn(*leading, heads, seq, head_dim, dtype=dtype, requires_grad=True)
        k, v = torch.randn(2, *leading, num_kv_heads, seq, head_dim, dtype=dtype).unbind()
        inputs = [q, k.requires_grad_(), v.requires_grad_()]
        wide = [x.detach().double().requires_grad_() for x in inputs]
        out, expected = pattern(*inputs, **options), plain(*wide, mask)
        assert out.dtype == dtype
        torch.testing.assert_close(out.double(), expected, **TOLERANCES[dtype])
        grad = torch.randn_like(out)
        out.backward(grad)
        expected.backward(grad.double())
        for ours, theirs in zip(inputs, wide, strict=True):
            torch.testing.assert_close(ours.grad.double(), theirs.grad, **TOLERANCES[dtype])

    return check
