import pytest
import torch

from benchgen.features.arithmetic import exact_float32


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
