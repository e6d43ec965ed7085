"""A trainer that learns a mean image of each class, as the code of a third party's plugin."""

TINY = """
import json
import math
import os
import signal

import torch
from safetensors.torch import load_file, save

from benchgen import TrainerSpec, hookimpl


@hookimpl
def benchgen_generators():
    return [TrainerSpec(
        name="tiny",
        factory=__name__ + ":Trainer",
        opens=__name__ + ":Model",
        description="mean images",
        parameters={
            "rate": {"type": "number", "exclusiveMinimum": 0, "default": 0.2},
            "batch_size": {"type": "integer", "minimum": 1, "default": 16},
            "fault": {"type": ["string", "null"], "default": None},
        },
        sampling={"noise": {"type": "number", "minimum": 0, "default": 0.1}},
        likelihood=True,
        license="MIT",
    )]


class Model:
    def __init__(self, weights, noise=0.1):
        if not isinstance(weights, torch.Tensor):
            weights = load_file(weights)["means"].float()
        self.means, self.noise = weights, noise

    def sample(self, batch):
        labels = torch.zeros_like(batch.indices) if batch.condition is None else batch.condition
        noise = self.noise * batch.normal(*self.means.shape[1:])
        return (self.means[labels] + noise).clamp(0, 1)

    def log_likelihood(self, images, batch):
        nats = -images[0].numel() * math.log(256)
        return torch.full((len(images),), nats, dtype=torch.float64)


class Trainer:
    def __init__(self, rate, batch_size, fault):
        self.rate, self.batch_size, self.fault = rate, batch_size, fault

    def train(self, job):
        from benchgen.training.job import Epoch

        if self.fault == "shape":
            raise ValueError("images must be larger")
        if self.fault == "crash":
            raise RuntimeError("out of luck")
        path = job.checkpoints / "state.safetensors"
        shape = (max(1, len(job.classes)), *job.shape)
        if path.is_file():
            state = load_file(path)
        else:
            state = {name: torch.rand(shape) for name in ("means", "best")}
            state |= {"epoch": torch.tensor(0), "kept": torch.tensor(0)}
            state |= {"fid": torch.tensor(math.inf, dtype=torch.float64)}
            if job.start is not None:
                state["means"] = load_file(job.start)["means"].float()
        of = job.epochs or 3
        while (epoch := int(state["epoch"])) < of:
            if job.patience and epoch - int(state["kept"]) >= job.patience:
                break
            random = torch.Generator().manual_seed(1000 * job.seed + epoch)
            for images, labels in job.data(epoch, self.batch_size):
                rows = torch.zeros(len(images), dtype=torch.int64) if labels is None else labels
                for row in rows.unique():
                    mean = images[rows == row].mean(0)
                    mean = mean + 0.01 * torch.randn(mean.shape, generator=random)
                    state["means"][row].lerp_(mean, self.rate)
            if self.fault == "nan loss" and epoch == 1:
                raise FloatingPointError("epoch 2: loss is nan")
            if os.environ.get("TINY_KILL_IN") == str(epoch + 1):
                os.kill(os.getpid(), signal.SIGKILL)
            means = state["means"] * (math.nan if self.fault == "nan images" else 1)
            fid = job.validate(Model(means))
            state["epoch"] = torch.tensor(epoch + 1)
            if fid < state["fid"]:
                state["fid"] = torch.tensor(fid, dtype=torch.float64)
                state["kept"], state["best"] = state["epoch"].clone(), means.clone()
            path.with_suffix(".part").write_bytes(save(state))
            os.replace(path.with_suffix(".part"), path)
            loss = math.nan if self.fault == "told nan" else 1 / (epoch + 1)
            job.report(Epoch(epoch + 1, of, {"loss": loss}, fid, 0.25))
        return Trained(state, self.fault)


class Trained:
    def __init__(self, state, fault):
        self.state, self.fault = state, fault

    @property
    def settings(self):
        if self.fault == "settings":
            return {"rate": 1}
        return {"epochs": int(self.state["epoch"]), "kept_epoch": int(self.state["kept"])}

    def save(self, path, metadata):
        if self.fault == "rubbish":
            return path.write_text("rubbish")
        metadata = {} if self.fault == "no metadata" else dict(metadata)
        tensors = {"means": self.state["best"].half()}
        path.write_bytes(save(tensors, metadata={**metadata, "own": "1"}))
"""
