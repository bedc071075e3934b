"""The training loop: a torchnet engine whose hooks validate, write checkpoints and report progress."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torchnet.engine import Engine
from torchnet.meter import AverageValueMeter
from tqdm import tqdm

from datasets.images import read_image
from datasets.training_samples import CropPool, batches
from models.context_net import ContextNet, integer_inputs
from models.description import ModelDescription
from models.measure import image_bits
from models.mixture import BITS, mixture_of
from utils.schedule import warmup_cosine


@dataclass(frozen=True)
class TrainSettings:
    """Everything a training run is decided by, besides its data.

    batch       contexts of one step
    steps       steps of the whole run; the learning rate falls to 0 there
    warmup      steps of linearly rising learning rate
    refresh     a crop of the pool is replaced every this many steps (0: never)
    validate    validation and checkpoint every this many steps
    """

    batch: int = 4096
    steps: int = 100_000
    warmup: int = 300
    learning_rate: float = 2e-3
    refresh: int = 10
    validate: int = 2000
    loss: str = "coded"
    seed: int = 0


def batch_bits(net: ContextNet, contexts: torch.Tensor, pixels: torch.Tensor, loss: str) -> torch.Tensor:
    """Mean bits per sub-pixel of a batch of contexts (N, T, C) and pixels (N, C), differentiable."""
    inputs, reference = integer_inputs(contexts, net.description)
    mixture = mixture_of(net(inputs), pixels, reference, net.description)
    return BITS[loss](mixture, pixels).mean()


def validation_bpsp(net: ContextNet, images: list[np.ndarray]) -> float:
    """Mean over images of their bits per sub-pixel as coded."""
    return float(
        np.mean(
            [image_bits(net, image, None, ("coded",), torch.float32)["coded"].sum() / image.size for image in images]
        )
    )


def train(
    description: ModelDescription,
    pool: CropPool,
    valid_files: list[Path],
    directory: Path,
    settings: TrainSettings,
    start_from: dict[str, torch.Tensor] | None = None,
) -> ContextNet:
    """Train a network; writes `model_best.pth.tar` and `checkpoint.pth.tar` into `directory`."""
    directory.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(settings.seed)
    net = ContextNet(description)
    net.reset_parameters(torch.Generator().manual_seed(settings.seed))
    if start_from:
        net.load_state_dict(start_from)
    optimizer = torch.optim.Adam(net.parameters(), settings.learning_rate, betas=(0.9, 0.99), fused=True)
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: warmup_cosine(step, settings.steps, settings.warmup)
    )
    valid = [read_image(path, description.channels) for path in valid_files]
    meter, best = AverageValueMeter(), float("inf")
    progress = tqdm(total=settings.steps, unit="step", disable=None)
    started = time.monotonic()

    def samples():
        source = batches(pool, description.taps, settings.batch, settings.refresh)
        for _ in range(settings.steps):
            yield next(source)

    def on_forward(state):
        meter.add(state["loss"].item())
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)

    def on_update(state):
        nonlocal best
        scheduler.step()
        progress.update()
        step = state["t"] + 1
        if step % settings.validate and step != settings.steps:
            return
        bpsp = validation_bpsp(net, valid)
        rate = step * settings.batch / (time.monotonic() - started)
        print(f"{step}\t{meter.value()[0]:.4f}\t{bpsp:.4f}\t{rate:.0f}", flush=True)
        meter.reset()
        payload = {
            "description": description.to_json(),
            "iteration": step,
            "best_valid_loss": min(best, bpsp),
            "state_dict": net.state_dict(),
            "optimizer": optimizer.state_dict(),
            "scheduler": {"last_epoch": scheduler.last_epoch},
        }
        torch.save(payload, directory / "checkpoint.pth.tar")
        if bpsp < best:
            best = bpsp
            torch.save(payload, directory / "model_best.pth.tar")

    engine = Engine()
    engine.hooks.update(on_forward=on_forward, on_update=on_update)
    engine.train(lambda sample: (batch_bits(net, *sample, settings.loss), None), samples(), 1, optimizer)
    return net
