import pytest
import torch

from benchgen.images.resize_weights import bands, neighbours

CPU = torch.device("cpu")


def dense(old: int, new: int, rule: str) -> torch.Tensor:
    whole = torch.zeros(new, old, dtype=torch.float64)
    for band in bands(old, new, rule, torch.float64, CPU):
        whole[band.write, band.read] += band.weights
    return whole


def test_neighbours_with_and_without_the_half_pixel() -> None:
    tf1 = neighbours(2, 4, "tf1", CPU)
    assert tf1.low.tolist() == [0, 0, 1, 1]
    assert tf1.high.tolist() == [1, 1, 1, 1]
    assert tf1.share.tolist() == [0, 0.5, 0, 0.5]
    half = neighbours(2, 4, "pytorch-fid", CPU)
    assert half.low.tolist() == [0, 0, 0, 1]
    assert half.share.tolist() == [0, 0.25, 0.75, 0.25]


@pytest.mark.parametrize("rule", ["tf1", "pytorch-fid"])
def test_only_the_positions_that_count_are_used(rule: str) -> None:
    found = neighbours(1000, 10, rule, CPU)
    assert len(found.used) == 20
    assert torch.equal(found.used[found.low_of_used], found.low)
    assert torch.equal(found.used[found.high_of_used], found.high)


def test_triangle_by_hand() -> None:
    # From 4 to 2 pixels the triangle is two old pixels wide on either side of the centre.
    expected = torch.tensor([[3, 3, 1, 0], [0, 1, 3, 3]], dtype=torch.float64) / 7
    torch.testing.assert_close(dense(4, 2, "torchvision-antialias"), expected, atol=1e-7, rtol=0)


@pytest.mark.parametrize("rule", ["clean", "torchvision-antialias"])
@pytest.mark.parametrize(("old", "new"), [(32, 299), (299, 32), (1, 70), (70, 1), (1000, 299)])
def test_weights_sum_to_one_and_mirror(rule: str, old: int, new: int) -> None:
    whole = dense(old, new, rule)
    torch.testing.assert_close(whole.sum(1), torch.ones(new, dtype=torch.float64))
    torch.testing.assert_close(whole, whole.flip(0, 1), atol=2e-4, rtol=0)


def test_bands_are_narrow() -> None:
    read = [band.weights.shape[1] for band in bands(1024, 299, "clean", torch.float32, CPU)]
    assert max(read) < 130


def test_pillow_weights_are_multiples_of_its_unit() -> None:
    steps = dense(50, 20, "pillow-bicubic") * 2**22
    assert torch.equal(steps, steps.round())
