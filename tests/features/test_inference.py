from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import Tensor, nn

from benchgen.features.inference import for_inference, keep_freed_memory


class Branching(nn.Module):
    """Control flow that depends on the data, which cannot be traced."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.bn(self.conv(x))
        return made if bool(x.sum() > 0) else -made


def plain() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 1))


def lived_in(network: nn.Module) -> nn.Module:
    """With statistics that are not those of a new network."""
    generator = torch.Generator().manual_seed(0)
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            for values in (part.running_mean, part.weight.data, part.bias.data):
                assert values is not None
                values.normal_(generator=generator)
            assert part.running_var is not None
            part.running_var.uniform_(0.5, 2, generator=generator)
    return network.eval()


@pytest.mark.parametrize("make", [plain, Branching])
def test_the_output_stays_the_same(make: type[nn.Module]) -> None:
    network = lived_in(make())
    images = torch.randn(3, 3, 20, 20)
    before = network(images)
    ready = for_inference(network, images[:1], "cpu")
    torch.testing.assert_close(ready(images), before, rtol=1e-5, atol=1e-5)
    channels_last = images.to(memory_format=torch.channels_last)
    torch.testing.assert_close(ready(channels_last), before, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(network(images), before)


def test_batch_norms_are_gone_where_they_can_be_folded() -> None:
    def norms(network: nn.Module) -> int:
        return sum(isinstance(part, nn.BatchNorm2d) for part in network.modules())

    example = torch.randn(1, 3, 9, 9)
    assert norms(for_inference(lived_in(plain()), example, "cpu")) == 0
    assert norms(for_inference(lived_in(Branching()), example, "cpu")) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="settings of the GNU C library")
def test_freed_memory_is_used_again() -> None:
    """Large blocks, made and freed over and over, cost page faults once."""
    code = """
import resource, sys, torch
from benchgen.features.inference import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
def touch():
    torch.ones(64 * 2**20, dtype=torch.uint8)
for _ in range(20):
    touch()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    touch()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
    faults = {
        mode: int(subprocess.check_output([sys.executable, "-c", code, mode], text=True))
        for mode in ("keep", "default")
    }
    keep_freed_memory()  # twice is as good as once
    if faults["default"] < 10_000:
        pytest.skip("this C library keeps freed memory of itself")
    assert faults["keep"] < faults["default"] / 5
