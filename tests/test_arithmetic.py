import pytest
import torch

from benchgen import arithmetic
from benchgen.arithmetic import exact_float32, products


def test_a_callers_choice_is_overruled_and_put_back() -> None:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    chosen = torch.backends.cuda.matmul.fp32_precision
    try:
        with exact_float32():
            assert torch.backends.cuda.matmul.fp32_precision == "ieee"
            assert torch.backends.cudnn.conv.fp32_precision == "ieee"  # type: ignore[attr-defined]
        assert torch.backends.cuda.matmul.fp32_precision == chosen != "ieee"
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)


def test_it_is_put_back_after_an_error() -> None:
    before = torch.backends.cuda.matmul.fp32_precision
    with pytest.raises(KeyError), exact_float32():
        raise KeyError
    assert torch.backends.cuda.matmul.fp32_precision == before


@pytest.mark.parametrize("has_onednn", [True, False])
@pytest.mark.parametrize(
    "shape", [(1, 1, 1), (3, 2, 0), (0, 2, 5), (1, 70, 2048), (33, 17, 513), (300, 200, 64)]
)
def test_products_are_those_of_float32_in_a_process_that_wants_less(
    shape: tuple[int, int, int], has_onednn: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    n, m, d = shape
    x, y = torch.randn(d, n).T, torch.randn(m, d)
    monkeypatch.setattr(arithmetic, "_has_onednn", lambda: has_onednn)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        made = products(x, y)
    finally:
        torch.set_float32_matmul_precision(before)
    assert made.dtype == torch.float32
    assert made.is_contiguous()
    bound = (d + 1) * torch.finfo(torch.float32).eps * x.norm(dim=1)[:, None] * y.norm(dim=1)
    assert ((made.double() - x.double() @ y.double().T).abs() <= bound).all()


def test_products_of_float64_stay_so() -> None:
    x = torch.randn(5, 9, dtype=torch.float64)
    assert torch.equal(products(x, x), x @ x.T)
