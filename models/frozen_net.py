"""The frozen network evaluated with PyTorch. Letters: N contexts; I inputs and O rows of a layer, K outputs."""

from __future__ import annotations

import numpy as np
import torch

from models.frozen import LEAKY_MULTIPLIER, LEAKY_PRESHIFT, LEAKY_SHIFT, FrozenLayer, FrozenModel


class IntegerLayer:
    """Computes a FrozenLayer with float64 matrix products, which are exact here, on a PyTorch device that has float64.

    Each operation on a device costs its launch, however few pixels there are; hence as few of them as will do. Shifts
    are powers of two and go into weights and biases, where they change exponents only. Saturating to int16 is left to
    the clamp that follows, whose limit is no larger.
    """

    def __init__(self, layer: FrozenLayer, limit: int, last: bool, device: torch.device | str = "cpu") -> None:
        """`limit` bounds the activations that leave it; those of the `last` layer are not bound."""
        unit = np.ldexp(1.0, -layer.shift.astype(np.int32))
        self._leaky, self._skip, self._last, self._limit = layer.leaky, layer.skip, last, float(limit)
        self._weight = torch.from_numpy((layer.weight.T * unit).copy()).to(device)
        self._bias = torch.from_numpy(layer.bias * unit).to(device)
        self._half = torch.full((1,), 0.5, dtype=torch.float64, device=device)

    def __call__(self, x: torch.Tensor, entered: torch.Tensor) -> torch.Tensor:
        """x (N, I), and what entered the layer before, (N, O) where this one closes a residual block -> (N, O)."""
        y = torch.addmm(self._bias, x, self._weight).floor_()
        if not self._last:
            y = torch.maximum(y, self._leaky_below(y), out=y) if self._leaky else y
            y = y.clamp_(-self._limit, self._limit)
        if self._skip:
            y = (y + entered).clamp_(-self._limit, self._limit)
        return y

    def _leaky_below(self, sums: torch.Tensor) -> torch.Tensor:
        """LeakyReLU of integer sums below zero; above zero nothing larger than the sum."""
        coarse = torch.add(self._half, sums, alpha=2.0**-LEAKY_PRESHIFT).floor_().clamp_(-32768, 32767)
        return torch.add(self._half, coarse, alpha=LEAKY_MULTIPLIER * 2.0**-LEAKY_SHIFT).floor_()


class FrozenNet:
    """Evaluates a FrozenModel on a PyTorch device that has float64."""

    def __init__(self, model: FrozenModel, device: torch.device | str = "cpu") -> None:
        self.model, self.device = model, torch.device(device)
        self.inputs, self.outputs = model.description.inputs, model.description.outputs
        self._layers = [IntegerLayer(layer, model.limit, layer is model.layers[-1], device) for layer in model.layers]

    @torch.no_grad()
    def __call__(self, inputs: torch.Tensor) -> torch.Tensor:
        """Integer inputs (N, I), any number type -> outputs (N, K) int32."""
        x = entered = inputs.to(device=self.device, dtype=torch.float64)
        for layer in self._layers:
            entered, x = x, layer(x, entered)
        return x.to(torch.int32)
