"""The record of a training run: rows at each validation, as a TSV table, as a PNG of the curves, and live."""

from __future__ import annotations

import io
import socket
from collections.abc import Callable
from typing import NamedTuple

from matplotlib.figure import Figure
from torchnet.logger import VisdomPlotLogger

from utils.errors import RequestError


class LogRow(NamedTuple):
    """One validation.

    train_bpsp            mean training loss since the row before, bits per sub-pixel
    valid_bpsp            mean over validation images of their bits per sub-pixel as coded
    contexts_per_second   since the row before, without validation
    seconds               of training and validation since the run began, interruptions not counted
    """

    step: int
    epoch: float
    contexts: int
    learning_rate: float
    train_bpsp: float
    valid_bpsp: float
    contexts_per_second: float
    seconds: float


def log_tsv(rows: list[LogRow]) -> bytes:
    texts = ([str(value) if isinstance(value, int) else f"{value:.8g}" for value in row] for row in rows)
    lines = [LogRow._fields, *texts]
    return "".join("\t".join(line) + "\n" for line in lines).encode()


def curves_png(rows: list[LogRow], title: str, loss: str) -> bytes:
    """Training loss and validation rate over the contexts seen, and the learning rate below."""
    figure = Figure(figsize=(8, 6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    millions = [row.contexts / 1e6 for row in rows]
    above.plot(millions, [row.train_bpsp for row in rows], ".-", label=f"training (loss {loss!r})")
    above.plot(millions, [row.valid_bpsp for row in rows], ".-", label="validation (as coded)")
    above.set_ylabel("rate (bits per sub-pixel)")
    above.set_title(title, parse_math=False)
    above.legend()
    below.plot(millions, [row.learning_rate for row in rows], ".-", color="gray")
    below.set_ylabel("learning rate")
    below.set_xlabel("contexts seen (millions)")
    for axes in (above, below):
        axes.grid(alpha=0.3)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    return buffer.getvalue()


class LiveCurves:
    """Curves on a visdom server, through torchnet's logger. Raises RequestError where no server answers.

    A server that fails later costs the curves, not the training: `warn` gets a line, and nothing more is sent.
    """

    def __init__(self, address: str, title: str, warn: Callable[[str], None]) -> None:
        server, _, port = address.partition(":")
        if not port.isdigit():
            raise RequestError(f"visdom is {address!r}; write server:port, for example localhost:8097")
        try:
            socket.create_connection((server, int(port)), timeout=3).close()
        except (OSError, OverflowError) as error:
            raise RequestError(
                f"no visdom server answers at {address} ({error}); start one with `python -m visdom.server`, "
                "or remove the key visdom"
            ) from error
        self._warn, self._failed = warn, False
        options = {"title": title, "xlabel": "contexts seen (millions)", "ylabel": "bits per sub-pixel"}
        options["legend"] = ["training", "validation"]
        self._plot = VisdomPlotLogger("line", server=server, port=int(port), opts=options)

    def add(self, row: LogRow) -> None:
        if self._failed:
            return
        try:
            self._plot.log(row.contexts / 1e6, row.train_bpsp, name="training")
            self._plot.log(row.contexts / 1e6, row.valid_bpsp, name="validation")
        except Exception as error:  # whatever a server, visdom or the network may come up with
            self._failed = True
            self._warn(f"warning: live curves end here, the visdom server fails ({type(error).__name__}: {error})")
