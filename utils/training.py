"""The training loop: torchnet's engine, whose hooks share gradients, validate, write checkpoints and report."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import torch
from torchnet.engine import Engine
from torchnet.meter import AverageValueMeter
from tqdm import tqdm

from datasets.image_set import ImageSet
from datasets.training_samples import RotatingPool, Sample, batches
from models.context_net import ContextNet
from utils.batch_bits import BatchBits
from utils.distributed import added_up
from utils.errors import P59Error, RequestError, reason_of
from utils.experiment import Experiment
from utils.learning_log import LogRow, curves_png, log_tsv
from utils.processes import Processes
from utils.stopping import StopRequest
from utils.stopwatch import Stopwatch
from utils.train_settings import TrainSettings
from utils.validation import mean_rate, validation_rates


def _is_the_compilers(error: Exception) -> bool:
    from torch._dynamo.exc import TorchDynamoException  # takes a while to import

    return isinstance(error, TorchDynamoException)


class Training:
    """One run of training, new or resumed.

    A step computes `bits`. Each validation image is coded by `net` or by one of `rivals`, see models.specialty.
    `announce` prints a line; `record` is called with the row of each validation. Rows, the step and the running mean of
    the loss travel in the checkpoints, so that a resumed run continues as if it had never stopped.
    """

    def __init__(
        self,
        net: ContextNet,
        pool: RotatingPool,
        valid: ImageSet,
        settings: TrainSettings,
        experiment: Experiment,
        *,
        rivals: list[ContextNet] | None = None,
        notes: dict[str, Any],
        processes: Processes,
        bits: BatchBits,
        announce: Callable[[str], None],
        record: Callable[[LogRow], None] = lambda row: None,
    ) -> None:
        self.net, self.pool, self.valid, self.settings, self.experiment = net, pool, valid, settings, experiment
        self.notes, self.processes, self.announce, self.record = notes, processes, announce, record
        self.rivals, self._rival_rates = rivals or [], []
        self.optimizer = settings.optimizer_of(net.parameters())
        self.share = processes.share(settings.batch_size)
        self.weight = (self.share.stop - self.share.start) / settings.batch_size
        self._bits = bits
        self.step, self.rows, self.meter = 0, [], AverageValueMeter()
        self.stepping, self.waiting = Stopwatch(), Stopwatch()
        self._first, self._seconds_before, self._interval = 0, 0.0, (0, 0.0)
        self._not_comparable = 0  # rows at the beginning whose validation rates are of other images, say
        self.stop, self.stopping = StopRequest(), False

    @property
    def best(self) -> LogRow | None:
        return min(self.rows[self._not_comparable :], key=lambda row: row.valid_bpsp, default=None)

    @property
    def complete(self) -> bool:
        """Whether the last step and the validation after it are done."""
        return self.step >= self.settings.steps and not self._validation_is_due()

    def load(self, payload: dict[str, Any], comparable: bool = True) -> None:
        """Continue from a checkpoint's dictionary; `comparable`: its validation is that of the settings."""
        progress = payload["progress"]
        self.net.load_state_dict(payload["state_dict"])
        betas = [group["betas"] for group in self.optimizer.param_groups]
        self.optimizer.load_state_dict(payload["optimizer"])
        for group, own in zip(self.optimizer.param_groups, betas, strict=True):
            group["betas"] = own  # the settings', which may have been changed
        self.step = self._first = payload["iteration"]
        self._seconds_before = progress["seconds"]
        self._interval = (self.step - progress["interval_steps"], -progress["interval_seconds"])
        self.rows = [LogRow(*row) for row in progress["rows"]]
        self._not_comparable = progress.get("not_comparable", 0) if comparable else len(self.rows)
        vars(self.meter).update(progress["meter"])

    def run(self) -> bool:
        """Train to the last step, or to a signal to stop. Returns whether the run is complete; its checkpoint is
        written in both cases. Raises P59Error where the loss is no number or a file cannot be written."""
        self._begun = time.monotonic()
        self._bar = tqdm(
            total=self.settings.steps, initial=self.step, unit="step", disable=None if self.processes.first else True
        )
        with self.stop, self._bar:
            self._validate_if_due()
            engine = Engine()
            engine.hooks = {"on_sample": self._set_rate, "on_forward": self._on_forward, "on_update": self._on_update}
            self.stepping.start()
            engine.train(self._loss, self._samples(), 1, self.optimizer)
            self.stepping.stop()
            if not self.complete:
                self._save(best=False)
        return self.complete

    def _samples(self) -> Iterator[Sample]:
        with closing(batches(self.pool, self.step, self.settings.steps, self.share)) as source:
            while not self.stopping:
                self.waiting.start()
                sample = next(source, None)
                self.waiting.stop()
                if sample is None:
                    return
                yield sample

    def _loss(self, sample: Sample) -> tuple[torch.Tensor, None]:
        bfloat16 = self.step < self.settings.bfloat16_steps
        try:
            bits = self._bits(self.net, *sample, self.settings.loss, bfloat16)
        except Exception as error:
            if not self.settings.compiled or not _is_the_compilers(error):
                raise
            raise RequestError(
                f"compiled is true, but PyTorch's compiler fails here ({reason_of(error)}); set it to false"
            ) from error
        return bits * self.weight, None

    def _set_rate(self, state: dict) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.rate_at(self.step)

    def _on_forward(self, state: dict) -> None:
        """After the backward pass: add up what the processes found, then clip the gradient."""
        loss, self.stopping = state["loss"].detach(), self.stop.wanted
        gradients = [parameter.grad for parameter in self.net.parameters()]
        if self.processes.count > 1:
            # One message: the gradients, the loss, and whether some process is to stop, so that all stop together.
            found = [*gradients, loss, loss.new_tensor(float(self.stopping))]
            flat = added_up(torch.cat([part.flatten() for part in found]), self.processes)
            *summed, loss, stopping = flat.split([part.numel() for part in found])
            for gradient, total in zip(gradients, summed, strict=True):
                gradient.copy_(total.view_as(gradient))
            self.stopping = bool(stopping > 0)
        value = loss.item()
        if not math.isfinite(value):
            raise P59Error(
                f"the loss is {value} at step {self.step + 1}; lower learning_rate, or find the cause with mode=debug"
            )
        self.meter.add(value)
        if self.settings.gradient_clip:
            torch.nn.utils.clip_grad_norm_(self.net.parameters(), self.settings.gradient_clip)

    def _on_update(self, state: dict) -> None:
        self.step += 1
        self._bar.set_postfix_str(f"{self.meter.value()[0]:.3f} bpsp, {self._rate():,.0f} contexts/s", refresh=False)
        self._bar.update()
        self._validate_if_due()

    def _rate(self) -> float:
        """Contexts per second of training since the last validation."""
        step, seconds = self._interval
        return (self.step - step) * self.settings.contexts_per_step / max(self.stepping.seconds - seconds, 1e-9)

    def speed(self) -> tuple[float, float]:
        """Contexts per second of all training so far, without validation; and the share of its time spent waiting for
        data, 0..1."""
        contexts = (self.step - self._first) * self.settings.contexts_per_step
        seconds = max(self.stepping.seconds, 1e-9)
        return contexts / seconds, self.waiting.seconds / seconds

    def _validation_is_due(self) -> bool:
        due = self.step and (self.step % self.settings.validation_interval == 0 or self.step >= self.settings.steps)
        return bool(due) and not (self.rows and self.rows[-1].step >= self.step)

    def _validate_if_due(self) -> None:
        if not self._validation_is_due() or self.stopping:
            return
        self.stepping.stop()
        rate = self._rate()
        bpsp = self._validation()
        if bpsp is None:  # interrupted: the resumed run begins with this validation
            self.stopping = True
            return
        before, settings = self.best, self.settings
        row = LogRow(
            step=self.step,
            epoch=self.step / settings.steps_per_epoch,
            contexts=self.step * settings.contexts_per_step,
            learning_rate=settings.rate_at(self.step - 1),
            train_bpsp=float(self.meter.value()[0]),
            valid_bpsp=bpsp,
            contexts_per_second=rate,
            seconds=self._seconds(),
        )
        self.rows.append(row)
        self.meter.reset()
        self._interval = (self.step, self.stepping.seconds)
        is_best = before is None or bpsp < before.valid_bpsp
        self._save(is_best)
        self._report(row, is_best)
        self.stepping.start()

    def _validation(self) -> float | None:
        """The mean rate of the validation images, each coded by the network or by a rival where that is better; None
        where a signal came."""
        common = (self.valid, self.settings.val_patch_size, self.processes, self.stop)
        while len(self._rival_rates) < len(self.rivals):
            rates = validation_rates(self.rivals[len(self._rival_rates)], *common)
            if rates is None:
                return None
            self._rival_rates.append(rates)
        rates = validation_rates(self.net, *common)
        if rates is None:
            return None
        rates[:, 0] = torch.stack([rates, *self._rival_rates])[:, :, 0].amin(0)
        return mean_rate(rates)

    def _seconds(self) -> float:
        return self._seconds_before + time.monotonic() - self._begun

    def _save(self, best: bool) -> None:
        """Write the checkpoint, the table and the plot (the first process only)."""
        if not self.processes.first:
            return
        meter = {name: float(value) for name, value in vars(self.meter).items()} | {"n": self.meter.n}
        payload = {
            "description": self.net.description.to_json(),
            "epoch": self.step // self.settings.steps_per_epoch,
            "iteration": self.step,
            "best_valid_loss": self.best.valid_bpsp if self.best else math.inf,
            "state_dict": self.net.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": {"last_epoch": self.step},
            "settings": self.notes,
            "progress": {
                "rows": [list(row) for row in self.rows],
                "not_comparable": self._not_comparable,
                "meter": meter,
                "interval_steps": self.step - self._interval[0],
                "interval_seconds": self.stepping.seconds - self._interval[1],
                "seconds": self._seconds(),
            },
        }
        self.experiment.save(payload, best)
        if self.rows:
            title = self.experiment.directory.name + (f": best {self.best.valid_bpsp:.4f} bpsp" if self.best else "")
            self.experiment.write("log.tsv", log_tsv(self.rows))
            self.experiment.write("curve.png", curves_png(self.rows, title, self.settings.loss))

    def _report(self, row: LogRow, best: bool) -> None:
        if not self.processes.first:
            return
        left = (self.settings.steps - self.step) * row.seconds / self.step
        line = (
            f"step {row.step:,} of {self.settings.steps:,} (epoch {row.epoch:.2f}): training {row.train_bpsp:.4f}, "
            f"validation {row.valid_bpsp:.4f} bpsp{' (best)' if best else ''}, "
            f"{row.contexts_per_second:,.0f} contexts/s, {tqdm.format_interval(left)} left"
        )
        with tqdm.external_write_mode():
            self.announce(line)
        self.record(row)
