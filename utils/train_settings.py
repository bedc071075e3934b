"""What decides the result of a training run, besides the model's description and the images."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from datasets.augmentation import Augmentation
from datasets.published_crops import PublishedCrop
from datasets.training_samples import Augment
from utils.schedule import validation_decay, warmup_cosine
from utils.soap import SOAP


@dataclass(frozen=True)
class TrainSettings:
    """The settings of a run, in the terms of the configuration.

    sampling        "contexts": a step takes `batch_size` contexts anywhere in crops of `patch_size` from the pool;
                    "crops": all contexts of `batch_size` crops, padded inside each crop
    pool_size, refresh_every    see datasets.training_samples
    flips, noise, resize, sharpen, half_colour    see datasets.augmentation
    loss            a name of models.mixture.BITS
    optimizer       "adam" (first moment's decay 0.9, the second's `adam_beta2`) or "soap" (utils.soap)
    schedule        "cosine" (down to 0 at the last step) or "step" (times 0.99 at each validation)
    gradient_clip   largest norm of the gradient, 0 for none
    bfloat16_steps  the first steps, whose network is computed in bfloat16 (see utils.batch_bits)
    compiled        a step is computed by code that PyTorch's compiler makes for it; sums are rounded in another order
    max_steps       of the whole run; None: `max_epoch` epochs
    steps_per_epoch None until `resolved`: as many contexts as the training images have pixels
    validate_every  epochs; a validation also follows the last step
    val_patch_size  side of the centre crop that is validated, None for whole images
    """

    sampling: str
    patch_size: int
    batch_size: int
    pool_size: int
    refresh_every: int
    flips: str
    noise: float
    resize: float
    sharpen: float
    half_colour: float
    loss: str
    optimizer: str
    learning_rate: float
    schedule: str
    warmup_steps: int
    adam_beta2: float
    gradient_clip: float
    bfloat16_steps: int
    compiled: bool
    max_epoch: int
    max_steps: int | None
    steps_per_epoch: int | None
    validate_every: int
    val_patch_size: int | None
    seed: int

    def resolved(self, pixels: int) -> TrainSettings:
        """These settings for training images of `pixels` pixels in all."""
        return replace(self, steps_per_epoch=self.steps_per_epoch or -(-pixels // self.contexts_per_step))

    @property
    def contexts_per_step(self) -> int:
        return self.batch_size * (self.patch_size**2 if self.sampling == "crops" else 1)

    @property
    def steps(self) -> int:
        """Of the whole run."""
        return self.max_steps or self.max_epoch * self.steps_per_epoch

    @property
    def validation_interval(self) -> int:
        """Steps from one validation to the next."""
        return self.validate_every * self.steps_per_epoch

    @property
    def augment(self) -> Augment:
        """torchvision's transforms where they say it all, as in the published setting."""
        changed = self.noise or self.resize or self.sharpen or self.half_colour
        if self.sampling == "crops" and self.flips == "horizontal" and not changed:
            return PublishedCrop()
        return Augmentation(
            flips=self.flips,
            noise=self.noise,
            resize=self.resize,
            sharpen=self.sharpen,
            half_colour=self.half_colour,
        )

    def optimizer_of(self, parameters: Iterable[torch.Tensor]) -> torch.optim.Optimizer:
        if self.optimizer == "soap":
            return SOAP(parameters, self.learning_rate)
        return torch.optim.Adam(parameters, self.learning_rate, betas=(0.9, self.adam_beta2), fused=True)

    def rate_at(self, step: int) -> float:
        """The learning rate of a step, 0 the first."""
        if self.schedule == "cosine":
            return self.learning_rate * warmup_cosine(step, self.steps, self.warmup_steps)
        return self.learning_rate * validation_decay(step, self.validation_interval, self.warmup_steps)

    def record(self, description_json: str, training_images: str) -> dict[str, Any]:
        """What a checkpoint remembers of how it was trained, as plain JSON values."""
        return {"description": description_json, "training_images": training_images, **asdict(self)}
