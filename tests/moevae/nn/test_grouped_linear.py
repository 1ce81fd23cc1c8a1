"""Products of sorted rows, and the sorting, against a loop over the rows."""

import pytest
import torch
from small import normal

from moevae.models.dispatch import Dispatch
from moevae.nn.grouped_linear import grouped_linear, padded_linear


@pytest.mark.parametrize("product", [grouped_linear, padded_linear])
@pytest.mark.parametrize("ends", [(2, 5, 5, 9, 9, 12), (0, 0, 0, 0, 0, 12), (12, 12, 12, 12, 12, 12)])
@pytest.mark.parametrize("side_by_side", [False, True])
def test_each_row_is_multiplied_by_the_weights_of_its_group(product, ends, side_by_side):
    """Also with the weights of all experts concatenated, as in the first layer."""
    x, weight, bias = normal(12, 4), normal(2, 3, 4, 5, seed=1), normal(2, 3, 5, seed=2)
    if side_by_side:
        weight = weight.transpose(1, 2).contiguous().transpose(1, 2)
    starts = (0, *ends)
    groups = [next(g for g in range(6) if starts[g] <= row < ends[g]) for row in range(12)]

    def plain(x, weight, bias, _):
        rows = [x[row] @ weight[g // 3, g % 3] + bias[g // 3, g % 3] for row, g in enumerate(groups)]
        return torch.stack(rows)

    def value_and_gradients(function):
        leaves = [each.detach().requires_grad_() for each in (x, weight, bias)]
        result = function(*leaves, ends)
        return result.detach(), *torch.autograd.grad((result * normal(12, 5, seed=3)).sum(), leaves)

    for found, expected in zip(value_and_gradients(product), value_and_gradients(plain), strict=True):
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("ends", [(3, 3, 70, 200), (0, 64, 64, 200)])
def test_in_bfloat16_each_row_meets_its_groups_weights(ends):
    """Small integers are exact in bfloat16, so that both data types have the same values and gradients."""
    leaves = [each.sign() for each in (normal(200, 4), normal(2, 2, 4, 5, seed=1), normal(2, 2, 5, seed=2))]

    def look(dtype):
        own = [each.to(dtype).requires_grad_() for each in leaves]
        result = grouped_linear(*own, ends)
        return result.float(), *(each.float() for each in torch.autograd.grad(result.sum(), own))

    for found, expected in zip(look(torch.bfloat16), look(torch.float32), strict=True):
        assert torch.equal(found, expected)


def test_rows_are_sorted_by_run_and_expert_and_are_restored_in_order():
    chosen = torch.tensor([[[2, 0, 2, 1], [0, 0, 1, 2]], [[1, 1, 1, 1], [0, 2, 2, 2]]])  # [R, S, B]
    dispatch = Dispatch.of(chosen, 3)
    assert dispatch.ends == (3, 5, 8, 9, 13, 16)
    x = torch.arange(8).view(2, 4, 1)  # each image is its number
    images = dispatch.images(x).flatten()
    assert torch.equal(dispatch.choices(images), x.view(2, 1, 4).expand(2, 2, 4))
    values = normal(2, 2, 4, 1)
    assert torch.equal(dispatch.choices(dispatch.rows(values).flatten()), values.squeeze(-1))
    experts = dispatch.rows(chosen.unsqueeze(-1)).flatten()
    assert experts[:8].tolist() == sorted(experts[:8].tolist())
