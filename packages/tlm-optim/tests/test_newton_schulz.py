import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tlm_optim import orthogonalize


def pseudo_code(matrix, steps=5):
    """`newtonschulz5` of https://kellerjordan.github.io/posts/muon/, without bfloat16 and eps."""
    a, b, c = (3.4445, -4.7750, 2.0315)
    x = matrix / matrix.norm()
    if matrix.size(0) > matrix.size(1):
        x = x.T
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if matrix.size(0) > matrix.size(1) else x


@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 1000), st.integers(1, 8))
def test_equals_the_pseudo_code(rows, columns, seed, steps):
    generator = torch.Generator().manual_seed(seed)
    matrix = torch.randn(rows, columns, generator=generator, dtype=torch.float64)
    expected = pseudo_code(matrix, steps)
    torch.testing.assert_close(orthogonalize(matrix, steps), expected, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("shape", [(16, 16), (8, 32), (32, 8), (3, 16, 24), (2, 3, 24, 16)])
def test_singular_values_come_near_one_and_the_vectors_stay(shape):
    matrices = torch.randn(shape)
    u, _, vh = torch.linalg.svd(matrices, full_matrices=False)
    turned = u.mT @ orthogonalize(matrices) @ vh.mT
    values = turned.diagonal(dim1=-2, dim2=-1)
    assert orthogonalize(matrices).shape == shape
    # a square random matrix has singular values near 0, which five steps do not lift to 1
    assert values.max() < 1.3
    assert values.min() > (0.0 if shape[-1] == shape[-2] else 0.6)
    torch.testing.assert_close(turned, torch.diag_embed(values), rtol=0, atol=1e-3)


def test_a_stack_is_its_matrices():
    matrices = torch.randn(4, 6, 9)
    torch.testing.assert_close(
        orthogonalize(matrices), torch.stack([orthogonalize(matrix) for matrix in matrices])
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_types_are_multiplied_in_float32_on_the_cpu(dtype):
    matrices = (1000 * torch.randn(2, 6, 9)).to(dtype)
    expected = orthogonalize(matrices.float()).to(dtype)
    assert torch.equal(orthogonalize(matrices), expected)


@pytest.mark.parametrize("shape", [(0, 4), (4, 0), (0, 3, 3), (2, 3, 0)])
def test_nothing_stays_nothing(shape):
    assert orthogonalize(torch.ones(shape)).shape == shape


@pytest.mark.parametrize("shape", [(), (3,)])
def test_what_is_no_matrix_is_refused(shape):
    with pytest.raises(ValueError, match=r"takes matrices, \(..., rows, columns\), not the shape"):
        orthogonalize(torch.ones(shape))


def test_the_size_does_not_matter_and_zero_stays_zero():
    matrix = torch.randn(6, 9)
    torch.testing.assert_close(orthogonalize(1e-3 * matrix), orthogonalize(matrix))
    assert torch.equal(orthogonalize(torch.zeros(6, 9)), torch.zeros(6, 9))
