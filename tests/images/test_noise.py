"""Noise is a function of (seed, index, stream, kind) alone, pinned to the bit."""

import random
import subprocess
import sys

import numpy as np
import pytest
import torch
from scipy import stats

from benchgen.images import noise
from benchgen.images.generated import SampleBatch


def test_philox_known_answers() -> None:
    """The first words of the published test vector of Philox4x64-10 (all-zero counter and key).

    numpy counts up before its first block, so counter 0 is reached from all ones.
    """
    ones = np.array([2**64 - 1] * 4, dtype=np.uint64)
    words = np.random.Philox(key=np.zeros(2, dtype=np.uint64), counter=ones).random_raw(4)
    assert [hex(word) for word in words] == [
        "0x16554d9eca36314c",
        "0xdb20fe9d672d0fdc",
        "0xd7e772cee186176b",
        "0x7e68b68aec7ba23b",
    ]


def test_pinned_vectors() -> None:
    """These values must never change: they are what makes two releases' samples the same."""
    assert noise.bits(0, 0, 0, noise.Kind.NORMAL, 2).tolist() == PINNED_BITS
    assert noise.normal(7, [0, 12345], (3,)).tolist() == PINNED_NORMAL
    assert noise.uniform(7, [0, 12345], (3,), stream=2).tolist() == PINNED_UNIFORM
    assert noise.labels(7, range(12), 10).tolist() == PINNED_LABELS


@pytest.mark.parametrize("batch_size", [1, 7, 256])
def test_noise_is_bit_identical_for_any_batch_size_and_order(batch_size: int) -> None:
    indices = list(range(300))
    whole = noise.normal(3, indices, (5, 4), stream=1)
    shuffled = random.Random(0).sample(indices, len(indices))
    for start in range(0, len(shuffled), batch_size):
        chosen = shuffled[start : start + batch_size]
        batch = SampleBatch(chosen, seed=3)
        assert torch.equal(batch.normal(5, 4, stream=1), whole[chosen])


def test_noise_is_bit_identical_in_another_process() -> None:
    code = (
        "from benchgen.images import noise;"
        "print(noise.normal(3, [250, 4], (64,)).numpy().tobytes().hex())"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == noise.normal(3, [250, 4], (64,)).numpy().tobytes().hex()


def test_distributions() -> None:
    normals = noise.normal(11, range(200), (500,)).flatten().numpy()
    uniforms = noise.uniform(11, range(200), (500,)).flatten().numpy()
    assert stats.kstest(normals, "norm").pvalue > 0.001
    assert stats.kstest(uniforms, "uniform").pvalue > 0.001
    assert uniforms.min() >= 0
    assert uniforms.max() < 1


def test_labels_are_balanced_by_design_in_no_fixed_order() -> None:
    drawn = noise.labels(11, range(20_000), 10)
    assert drawn.bincount(minlength=10).tolist() == [2000] * 10
    firsts = drawn[::10].bincount(minlength=10)
    assert stats.chisquare(firsts.numpy()).pvalue > 0.001
    assert noise.labels(11, [777, 3], 10).tolist() == [drawn[777], drawn[3]]


def test_streams_kinds_seeds_and_neighbours_are_unrelated() -> None:
    base = noise.normal(5, range(2000), (8,)).flatten()
    for other in (
        noise.normal(5, range(2000), (8,), stream=1),
        noise.normal(6, range(2000), (8,)),
        noise.normal(5, range(1, 2001), (8,)),
        noise.uniform(5, range(2000), (8,)),
    ):
        assert abs(np.corrcoef(base.numpy(), other.flatten().numpy())[0, 1]) < 0.03


def test_a_stream_is_drawn_once_a_call() -> None:
    batch = SampleBatch([0, 1], seed=0)
    batch.normal(4)
    batch.uniform(4)
    batch.normal(4, stream=1)
    with pytest.raises(ValueError, match=r"batch\.normal\(stream=0\) was drawn twice"):
        batch.normal(4)


def test_torch_generators_are_one_per_image_and_repeatable() -> None:
    one = [torch.randn(3, generator=g) for g in SampleBatch([4, 9], seed=2).torch_generators()]
    alone = torch.randn(3, generator=SampleBatch([9], seed=2).torch_generators()[0])
    assert torch.equal(one[1], alone)
    assert not torch.equal(one[0], one[1])


PINNED_BITS: list[int] = [213000021201967259, 4455796210202625458]
PINNED_NORMAL: list[list[float]] = [
    [1.1362472772598267, -0.5377773642539978, -0.20164360105991364],
    [-0.37044912576675415, 0.563953697681427, 2.4686968326568604],
]
PINNED_UNIFORM: list[list[float]] = [
    [0.993369996547699, 0.6498005986213684, 0.2467673420906067],
    [0.7595462203025818, 0.11973774433135986, 0.04603075981140137],
]
PINNED_LABELS: list[int] = [6, 7, 8, 4, 0, 1, 5, 3, 9, 2, 3, 0]
