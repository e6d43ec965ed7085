"""The loop that all families share: best epoch, early stopping, checkpoints, errors."""

from __future__ import annotations

import math
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from reference_models.checkpoint import read_metadata
from reference_models.training import (
    Average,
    Batch,
    EpochReport,
    Recipe,
    cosine,
    epoch_seed,
    fit,
    optimize,
)
from tests.reference_models.families import TINY, batches


class Counting(Recipe):
    """Learns a number: each step draws one and moves towards it."""

    def __init__(self) -> None:
        super().__init__()
        self.model = nn.Linear(1, 1, bias=False)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=0.1)
        self.optimizers = [self.optimizer]

    def step(self, images: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        loss = (self.model.weight - torch.randn(())).square().sum()
        optimize(self.optimizer, loss)
        return {"loss": loss}


@pytest.mark.parametrize("family", sorted(TINY))
def test_a_training_that_was_cut_ends_as_one_that_was_not(family: str, tmp_path: Path) -> None:
    whole, cut, resumed = (TINY[family].made() for _ in range(3))
    fit(whole, batches, epochs=4, seed=1)

    class CutError(Exception):
        pass

    def stop(told: EpochReport) -> None:
        if told.number == 2:
            raise CutError

    state = tmp_path / "state.safetensors"
    with pytest.raises(CutError):
        fit(cut, batches, epochs=4, seed=1, checkpoint=state, report=stop)
    numbers: list[int] = []
    fit(
        *(resumed, batches),
        epochs=4,
        seed=1,
        checkpoint=state,
        report=lambda told: numbers.append(told.number),
    )
    assert numbers == [3, 4]
    expected = whole.model.state_dict()
    for name, tensor in resumed.model.state_dict().items():
        assert torch.equal(tensor, expected[name]), name


def test_a_killed_process_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    script = """
import sys, torch
from pathlib import Path
from reference_models.training import fit
from tests.reference_models.families import TINY, batches
state, slow = Path(sys.argv[1]), sys.argv[2] == "slow"
recipe = TINY["gan"].made()
def told(epoch):
    print(epoch.number, flush=True)
    if slow and epoch.number == 3:
        import time
        time.sleep(60)
fit(recipe, batches, epochs=6, seed=4, checkpoint=state, report=told)
print(sum(float(v.double().abs().sum()) for v in recipe.model.state_dict().values()).hex())
"""

    def run(state: str, how: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path / state), how],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )

    whole = run("whole.safetensors", "fast").communicate(timeout=120)[0].split()
    killed = run("cut.safetensors", "slow")
    assert killed.stdout is not None
    for line in killed.stdout:
        if line.strip() == "3":
            killed.send_signal(signal.SIGKILL)
            break
    killed.wait(timeout=60)
    resumed = run("cut.safetensors", "fast").communicate(timeout=120)[0].split()
    assert resumed[:3] == ["4", "5", "6"]
    assert resumed[-1] == whole[-1]


def test_the_best_epoch_is_kept_and_patience_ends_the_rest() -> None:
    recipe, seen = Counting(), []
    scores = iter([5.0, 3.0, 4.0, 4.0, 1.0])

    def validate(model: nn.Module) -> float:
        assert not model.training
        seen.append(model.weight.detach().clone())
        return next(scores)

    progress = fit(recipe, batches, epochs=9, seed=0, validate=validate, patience=2)
    assert progress.epoch == 4
    assert progress.best_epoch == 2
    assert progress.best_score == 3.0
    assert torch.equal(recipe.model.weight, seen[1])


def test_validation_comes_every_so_many_epochs_and_last() -> None:
    scored: list[tuple[int, float | None]] = []
    fit(
        *(Counting(), batches),
        epochs=5,
        seed=0,
        validate=lambda model: 1.0,
        validate_every=2,
        report=lambda told: scored.append((told.number, told.score)),
    )
    assert scored == [(1, None), (2, 1.0), (3, None), (4, 1.0), (5, 1.0)]


def test_the_stage_that_cannot_sample_is_not_validated() -> None:
    scores = []
    recipe = TINY["transformer"].made()
    fit(
        *(recipe, batches),
        epochs=6,
        seed=0,
        validate=lambda model: 1.0,
        report=lambda told: scores.append(told.score),
    )
    assert scores == [None, None, None, 1.0, 1.0, 1.0]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_no_number_stops_the_training(bad: float) -> None:
    class Broken(Counting):
        def step(self, images: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"loss": torch.tensor(bad)}

    with pytest.raises(FloatingPointError, match=r"epoch 1: loss is (nan|inf); try"):
        fit(Broken(), batches, epochs=2, seed=0)
    with pytest.raises(FloatingPointError, match=r"epoch 1: the validation score is (nan|inf)"):
        fit(Counting(), batches, epochs=2, seed=0, validate=lambda model: bad)


def test_an_epoch_without_batches_is_an_error() -> None:
    def none(epoch: int) -> Iterator[Batch]:
        return iter(())

    with pytest.raises(ValueError, match="epoch 1 has no batches"):
        fit(Counting(), none, epochs=1, seed=0)


def test_a_checkpoint_of_another_model_is_an_error(tmp_path: Path) -> None:
    state = tmp_path / "state.safetensors"
    fit(TINY["gan"].made(), batches, epochs=1, seed=0, checkpoint=state)
    assert '"epoch": 1' in read_metadata(state)["progress"]
    with pytest.raises(ValueError, match="is a checkpoint of another model"):
        fit(TINY["vae"].made(), batches, epochs=1, seed=0, checkpoint=state)


def test_the_average_follows_and_stays_in_eval_mode() -> None:
    source = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    average = Average(source, decay=0.9)
    with torch.no_grad():
        source[0].weight.fill_(1.0)
    average.train()
    assert not average.module.training
    before = (average.module[0].weight - 1).abs().max()  # type: ignore[index]
    for _ in range(300):
        average.update(source)
    assert (average.module[0].weight - 1).abs().max() < 1e-3 * before  # type: ignore[index]


def test_schedules_and_seeds() -> None:
    assert cosine(0, 10) == 1
    assert cosine(5, 10) == pytest.approx(0.5)
    assert 0 < cosine(9, 10) < 0.1
    seeds = {epoch_seed(seed, epoch) for seed in range(100) for epoch in range(100)}
    assert len(seeds) == 10_000
    assert all(0 <= seed < 2**63 for seed in seeds)
