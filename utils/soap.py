"""SOAP: Adam in the eigenbasis of Shampoo's preconditioner (Vyas et al. 2024, arXiv 2409.11321).

For a weight matrix with gradient G, running means of G G^T and G^T G are kept; Adam's moments live in the basis of
their eigenvectors, which one step of orthogonal iteration follows every few steps. Vectors (biases) get plain Adam. On
this project's network it reaches Adam's rate in well under half of the steps (docs/training.md), at a tenth more time
each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch


class SOAP(torch.optim.Optimizer):
    """Parameters are matrices or vectors; the first step of each matrix only gathers its statistics.

    betas       decay of the first and second moment, as in Adam
    shampoo     decay of the running means whose eigenvectors are the basis
    every       steps between updates of the basis
    """

    def __init__(
        self,
        params: Iterable[torch.Tensor],
        lr: float = 3e-3,
        betas: tuple[float, float] = (0.95, 0.95),
        shampoo: float = 0.95,
        every: int = 10,
        eps: float = 1e-8,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "shampoo": shampoo, "every": every, "eps": eps})

    @torch.no_grad()
    def step(self, closure: Callable[[], torch.Tensor] | None = None) -> torch.Tensor | None:
        """One update; `closure` may evaluate the loss and its gradients first, and its result is returned."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if parameter.dim() == 2:
                    self._matrix_step(parameter, state, group)
                else:
                    self._vector_step(parameter, state, group)
        return loss

    def _vector_step(self, parameter: torch.Tensor, state: dict, group: dict) -> None:
        if not state:
            state.update(step=0, first=torch.zeros_like(parameter), second=torch.zeros_like(parameter))
        state["step"] += 1
        state["first"].lerp_(parameter.grad, 1 - group["betas"][0])
        parameter.add_(_adam(state, state["first"], parameter.grad, group), alpha=-group["lr"])

    def _matrix_step(self, parameter: torch.Tensor, state: dict, group: dict) -> None:
        gradient = parameter.grad
        if not state:
            rows, columns = gradient @ gradient.T, gradient.T @ gradient
            state.update(step=0, first=torch.zeros_like(gradient), second=torch.zeros_like(gradient))
            state.update(rows=rows, columns=columns, row_basis=_eigenvectors(rows), column_basis=_eigenvectors(columns))
            return
        state["step"] += 1
        left, right = state["row_basis"], state["column_basis"]
        state["first"].lerp_(gradient, 1 - group["betas"][0])
        update = _adam(state, left.T @ state["first"] @ right, left.T @ gradient @ right, group)
        parameter.add_(left @ update @ right.T, alpha=-group["lr"])
        state["rows"].lerp_(gradient @ gradient.T, 1 - group["shampoo"])
        state["columns"].lerp_(gradient.T @ gradient, 1 - group["shampoo"])
        if state["step"] % group["every"] == 0:
            for mean, basis in (("rows", "row_basis"), ("columns", "column_basis")):
                state[basis] = torch.linalg.qr(state[mean] @ state[basis])[0]


def _adam(state: dict, first: torch.Tensor, gradient: torch.Tensor, group: dict) -> torch.Tensor:
    """Adam's update from a first moment and the current gradient in the same basis; advances the second moment."""
    beta_first, beta_second = group["betas"]
    state["second"].lerp_(gradient * gradient, 1 - beta_second)
    deviation = (state["second"] / (1 - beta_second ** state["step"])).sqrt_().add_(group["eps"])
    return first / (1 - beta_first ** state["step"]) / deviation


def _eigenvectors(matrix: torch.Tensor) -> torch.Tensor:
    damping = 1e-12 * torch.eye(len(matrix), dtype=matrix.dtype, device=matrix.device)
    return torch.linalg.eigh(matrix + damping)[1]
