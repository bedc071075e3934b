"""Networks that share the images among them: whose an image is, what a pool then holds, and a run among rivals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import utils.tasks.train
from datasets.training_samples import MOST_TRIES, ContextPool, PatchPool
from models.checkpoint import network_of
from models.context_net import ContextNet
from models.description import ModelDescription
from models.measure import image_bits
from models.neighbourhood import CAUSAL_TAPS
from models.specialty import Specialty
from tests.training_cases import (
    CONTEXTS,
    KilledError,
    checkpoint,
    disturb,
    kill,
    photograph,
    pool_of,
    run,
    same_result,
    work,
)
from utils.validation import image_bpsp

__all__ = ["work"]  # a fixture
FIRST = "experiments/first/checkpoints/checkpoint.pth.tar"
SECOND = "experiments/second/checkpoints/checkpoint.pth.tar"


def nets(count: int) -> list[ContextNet]:
    made = []
    for seed in range(count):
        made.append(ContextNet(ModelDescription(widths=(8,))))
        made[-1].reset_parameters(torch.Generator().manual_seed(seed))
    return made


def test_excess_is_the_difference_of_the_rates():
    """Over many samples, of the whole image; and against the best of the others."""
    image, (first, second, third) = photograph(3, 40, 30), nets(3)
    rates = [image_bits(net, image, None, ("coded",))["coded"].sum() / image.size for net in (first, second, third)]

    def excesses(*some: ContextNet) -> np.ndarray:
        return np.array([Specialty(list(some)).excess(image, np.random.default_rng(n)) for n in range(100)])

    assert abs(rates[0] - rates[1]) > 0.03, "the test would see a wrong sign"
    assert excesses(first, second).mean() == pytest.approx(rates[0] - rates[1], abs=0.01)
    assert np.array_equal(excesses(first, second), -excesses(second, first))
    dearest = np.maximum(excesses(second, first), excesses(second, third))
    np.testing.assert_allclose(excesses(second, first, third), dearest, atol=1e-12)


def mean_value(piece: np.ndarray, generator: np.random.Generator) -> float:
    return float(piece.mean()) - 120


def test_a_pool_holds_what_is_wanted_and_is_a_function_of_the_step(work):
    """Wanted are dark pieces; the pool of a step is the same whether it was there from the start or not."""
    pools = [pool_of(PatchPool, excess=mean_value) for _ in range(2)]
    assert any(mean_value(piece, None) >= 0 for piece in pieces_of(pool_of(PatchPool)))
    for step in range(24):
        pools[0].advance(step)
    pools[1].advance(23)
    one, other = (pool.windows for pool in pools)
    assert all(np.array_equal(*pair) for pair in zip(one, other, strict=True))
    assert all(mean_value(piece, None) < 0 for piece in one)


def pieces_of(pool: PatchPool) -> list[np.ndarray]:
    pool.advance(0)
    return pool.windows


def test_where_nothing_is_wanted_the_least_unwanted_is_taken(work):
    asked: list[float] = []

    def never(piece: np.ndarray, generator: np.random.Generator) -> float:
        asked.append(float(piece.mean()))
        return asked[-1]

    pool = pool_of(PatchPool, excess=never)
    piece = pool._piece(0)
    assert len(asked) == MOST_TRIES
    assert piece.mean() == min(asked)


@pytest.fixture
def pools(monkeypatch) -> list[ContextPool]:
    """Those that runs of training make."""
    made: list[ContextPool] = []

    class RecordedPool(ContextPool):
        def __init__(self, *arguments, **keywords) -> None:
            super().__init__(*arguments, **keywords)
            made.append(self)

    monkeypatch.setattr(utils.tasks.train, "ContextPool", RecordedPool)
    return made


def test_a_run_among_rivals(work, pools, monkeypatch, capsys):
    """An image counts with the rate of whichever codes it best; a killed and resumed run equals the unbroken one."""
    flat = np.full((24, 28, 3), 90, np.uint8)
    for place in ("flat", "valid"):
        Path(place).mkdir(exist_ok=True)
        Image.fromarray(flat).save(f"{place}/flat.png")
    assert run(CONTEXTS, exp_name="first") == 0
    assert run(CONTEXTS, exp_name="second", train_data="flat", noise=0.0, max_steps=40) == 0
    among = CONTEXTS | {"initial_weights": FIRST, "rivals": [SECOND]}
    assert run(among, exp_name="unbroken") == 0
    assert [pool.excess is None for pool in pools] == [True, True, False]
    for net, name in zip(pools[-1].excess.__self__.nets, ("first", "second"), strict=True):
        state = checkpoint(name)["state_dict"]
        assert all(torch.equal(weights, state[key]) for key, weights in net.state_dict().items())

    networks = [network_of(checkpoint(name), Path()) for name in ("unbroken", "second")]
    images = [photograph(10), photograph(11), flat]
    rates = np.array([[image_bpsp(net, image, None) for net in networks] for image in images])
    assert set(rates.argmin(1)) == {0, 1}, "both code some image best"
    assert checkpoint("unbroken")["progress"]["rows"][-1][5] == pytest.approx(rates.min(1).mean(), rel=1e-6)

    disturb(monkeypatch, 8, kill)
    with pytest.raises(KilledError):
        run(among, exp_name="broken")
    capsys.readouterr()
    assert run(among, exp_name="broken", resume_training=True) == 0
    assert "changed" not in capsys.readouterr().out
    assert same_result(checkpoint("unbroken"), checkpoint("broken"))
    assert run(CONTEXTS, exp_name="broken", resume_training=True, max_steps=13) == 0
    assert "changed since the run began, so the result is not that of an unbroken run: max_steps, rivals" in (
        capsys.readouterr().out
    )


def test_rivals_need_a_start_of_the_same_model(work, capsys):
    """Rivals themselves may have other taps and widths, as long as they are for such images."""
    assert run(CONTEXTS, rivals=["some.pth.tar"]) == 2
    assert "rivals needs initial_weights" in capsys.readouterr().err
    assert run(CONTEXTS, exp_name="first") == 0
    assert run(CONTEXTS, exp_name="wide", hidden_width=9) == 0
    assert run(CONTEXTS, exp_name="gray", num_color_channels=1) == 0
    assert run(CONTEXTS, initial_weights=FIRST, rivals="experiments/gray/checkpoints/checkpoint.pth.tar") == 2
    assert "rivals 'experiments/gray" in capsys.readouterr().err
    assert run(CONTEXTS, exp_name="diagonal", taps="diagonal", parities=True) == 0
    wide, diagonal = (f"experiments/{name}/checkpoints/checkpoint.pth.tar" for name in ("wide", "diagonal"))
    assert run(CONTEXTS, exp_name="among", initial_weights=FIRST, rivals=[wide, diagonal]) == 0
    assert run(CONTEXTS, initial_weights=diagonal, rivals=FIRST) == 2, "one that loses taps codes nothing as it did"
    assert "of another model" in capsys.readouterr().err
    assert run(CONTEXTS, initial_weights=FIRST, rivals="none.pth.tar") == 2
    assert "'none.pth.tar' cannot be read" in capsys.readouterr().err


def test_a_run_on_another_ones_share(work, pools, capsys):
    """Of networks with other taps; the new network is validated alone; a resumed run notices another share."""
    assert run(CONTEXTS, exp_name="first") == 0
    assert run(CONTEXTS, exp_name="second", noise=0.0, max_steps=40) == 0
    of_first = CONTEXTS | {"taps": "diagonal", "share_of": [FIRST, SECOND]}
    assert run(of_first, exp_name="diagonal", initial_weights=FIRST) == 0
    assert checkpoint("diagonal")["progress"]["rows"][-1][5] == pytest.approx(
        mean_bpsp(network_of(checkpoint("diagonal"), Path()), [photograph(10), photograph(11)]), rel=1e-6
    )
    excess = pools[-1].excess
    assert [net.description.taps for net in excess.__self__.nets] == [CAUSAL_TAPS] * 2
    image, swapped = photograph(10), Specialty(excess.__self__.nets[::-1]).excess
    one, other = (function(image, np.random.default_rng(0)) for function in (excess, swapped))
    assert one == -other != 0
    capsys.readouterr()
    assert run(of_first | {"share_of": [SECOND, FIRST]}, exp_name="diagonal", resume_training=True, max_steps=13) == 0
    assert "max_steps, share_of" in capsys.readouterr().out


def mean_bpsp(net, images) -> float:
    return float(np.mean([image_bpsp(net, image, None) for image in images]))


def test_what_a_share_is_of(work, capsys):
    assert run(CONTEXTS, share_of=["some.pth.tar"]) == 2
    assert "share_of needs two checkpoints or more" in capsys.readouterr().err
    assert run(CONTEXTS, share_of=["a.pth.tar", "b.pth.tar"], rivals="c.pth.tar", initial_weights="d.pth.tar") == 2
    assert "give one of them" in capsys.readouterr().err
    assert run(CONTEXTS, exp_name="gray", num_color_channels=1) == 0
    gray = "experiments/gray/checkpoints/checkpoint.pth.tar"
    assert run(CONTEXTS, share_of=[gray, gray]) == 2
    assert "is of 1 channels" in capsys.readouterr().err
