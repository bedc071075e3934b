"""Fitting a network to an image: it helps, the same each time, and whoever asks for it gets it."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import main as command_line
import p59
from coders import fitting, torch_fitting
from coders.backends import backend_for
from coders.container import Container
from coders.fitting import FEW_PIXELS, MOST_FITTED, Fitting, products_for
from coders.image_codec import encode_image, models_named
from coders.native.gradients import gradient_kind
from coders.scan import DIAGONAL, WAVEFRONT
from datasets.builtin import demo_photographs
from models.adaptable import Adaptable
from models.adaptation import MOST_PRODUCTS, adapted, row_groups
from models.adapted_net import AdaptedNet
from models.frozen_net import FrozenNet
from models.store import shipped_models
from tests.helpers import (
    ROOT,
    TINY,
    decode_image,
    is_adapted,
    random_adaptation,
    random_frozen,
    random_image,
    with_scales,
)
from utils.config import read_config
from utils.errors import DeviceMemoryError, P59Error, StoppedError
from utils.evaluation.jobs import Job
from utils.evaluation.rows import read_rows

BACKEND = backend_for("cpu", 1)
CONFIGS = ROOT / "configs"


@pytest.fixture(autouse=True)
def quick(monkeypatch, torch_threads):
    """Few contexts a step; PyTorch's threads are set back."""
    monkeypatch.setattr(fitting, "CONTEXTS", 512)
    torch_threads(1)


def crop(height: int = 96, width: int = 96) -> np.ndarray:
    """(H, W, 3): part of a real photograph."""
    return np.ascontiguousarray(demo_photographs()["astronaut"][100 : 100 + height, 100 : 100 + width])


def groups_adapted(data: bytes) -> list[bool]:
    return [is_adapted(group) for group in Container.from_bytes(data).planes]


# What it finds.


@pytest.mark.parametrize("scan", [WAVEFRONT, DIAGONAL], ids=["wavefront", "diagonal"])
@pytest.mark.parametrize("channels", [3, 1])
def test_the_file_gets_smaller_and_decodes(channels, scan):
    """The shipped network in colour; of gray one whose scales do not suit, as few steps help the shipped one little."""
    image = np.ascontiguousarray(crop()[:, :, -channels:])
    model = shipped_models(scan.name, channels)[0].model
    if channels == 1:
        model = adapted(model, with_scales(model, 20))
    plain = encode_image(image, model, scan, BACKEND)
    data = encode_image(image, model, scan, BACKEND, Fitting(60, "cpu", 1))
    assert groups_adapted(data) == [True]
    assert len(data) < 0.995 * len(plain)
    assert models_named(Container.from_bytes(data)) == models_named(Container.from_bytes(plain))
    np.testing.assert_array_equal(decode_image(Container.from_bytes(data), model, BACKEND), image)


def test_the_same_each_time():
    """Whatever random numbers were drawn in between."""
    image, model = crop(), shipped_models("wavefront", 3)[0].model
    first = encode_image(image, model, WAVEFRONT, BACKEND, Fitting(100, "cpu", 1))
    torch.manual_seed(99)
    torch.rand(7)
    state = torch.get_rng_state()
    assert encode_image(image, model, WAVEFRONT, BACKEND, Fitting(100, "cpu", 1)) == first
    assert groups_adapted(first) == [True]
    assert torch.equal(torch.get_rng_state(), state), "PyTorch's own random numbers are left alone"


@pytest.mark.parametrize("name", TINY)
def test_networks_of_every_kind_are_fitted(name):
    """The adaptation has the shapes of the network, can be applied, and makes the stream smaller."""
    description = TINY[name]
    model = random_frozen(description)
    image = random_image(150, 160, description.channels, kind="noise")
    adaptation = Fitting(30, "cpu", 1)(image, model, WAVEFRONT.taps(description.taps))
    sizes = [len(BACKEND.encode(image, one, WAVEFRONT)) for one in (model, adapted(model, adaptation))]
    assert sizes[1] < sizes[0]
    for layer, (rows, columns), groups in zip(
        adaptation, description.layer_shapes, row_groups(description), strict=True
    ):
        assert (layer.offsets.shape, layer.gains.shape) == ((rows,), (rows,))
        assert (len(layer.left), len(layer.right)) == (rows, columns)
        assert len(layer.offset_exponents) == len(groups)
        assert {part.dtype for part in (layer.offsets, layer.gains, layer.left, layer.right)} == {np.dtype(np.int8)}


def test_fitting_imitates_the_integers():
    """What the float network says about an adapted network is what the adapted integers compute, but for rounding."""
    model = shipped_models("wavefront", 1)[0].model
    net = AdaptedNet(Adaptable(model, 2, np.random.default_rng(0)))
    chosen = random_adaptation(model.description, 0, 2, 3)
    with torch.no_grad():
        for index, layer in enumerate(chosen):
            for part in ("offsets", "gains", "left", "right"):
                getattr(net, part)[index].copy_(torch.from_numpy(getattr(layer, part)).float())
    inputs = torch.from_numpy(np.random.default_rng(0).integers(-60, 61, (50, model.description.inputs)))
    exact = FrozenNet(adapted(model, net.adaptable.adaptation()))(inputs).double()
    before = FrozenNet(model)(inputs).double()
    with torch.no_grad():
        imitated = net(inputs).double()
    error, change = (imitated - exact).abs().mean(0), (before - exact).abs().mean(0)
    assert (error < 0.1 * change + 2).all(), (error, change)


@pytest.fixture
def in_pytorch(monkeypatch):
    """The search as it is where the native core cannot do it."""
    monkeypatch.setattr("coders.fitting.gradient_kind", lambda bfloat16: None)


@pytest.mark.parametrize("channels", [3, 1])
def test_pytorch_makes_the_file_smaller_too(channels, in_pytorch):
    test_the_file_gets_smaller_and_decodes(channels, WAVEFRONT)


def test_the_native_core_fits_for_a_gpu_too():
    """To the same numbers; there is none here."""
    if not gradient_kind(bfloat16=True):
        pytest.skip("the native core cannot compute gradients on this machine")
    model, image = random_frozen(TINY["west"]), random_image(80, 90)
    found = [
        adapted(model, Fitting(60, device, 1)(image, model, TINY["west"].taps)).fingerprint
        for device in ("cpu", "cuda:7")
    ]
    assert found[0] == found[1] != model.fingerprint
    assert Fitting(5, "cuda:7").among_others().threads == 1


def fitted(steps: int = 2, **settings):
    return Fitting(steps, **settings)(random_image(20, 20), random_frozen(TINY["west"]), TINY["west"].taps)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_callers_may_have_gradients_off(mode, in_pytorch):
    with mode():
        fitted()


def test_the_callers_number_of_threads_comes_back(torch_threads, in_pytorch):
    torch_threads(2)
    fitted(threads=1)
    assert torch.get_num_threads() == 2


def test_callers_may_have_another_default_device(in_pytorch):
    """As for building models lazily."""
    first = fitted(4)
    torch.set_default_device("meta")
    try:
        found = fitted(4)
    finally:
        torch.set_default_device(None)
    model = random_frozen(TINY["west"])
    assert adapted(model, found).fingerprint == adapted(model, first).fingerprint


def test_progress_is_not_touched_where_none_is_shown(monkeypatch):
    """Its lock may be held by another thread in a process that is forked."""
    monkeypatch.setattr(fitting, "tqdm", None)
    fitted()


def test_short_memory_in_the_native_core_is_an_error_of_ours(monkeypatch):
    def failing(*_):
        raise MemoryError

    monkeypatch.setattr(fitting, "NativeSearch", failing)
    monkeypatch.setattr(torch_fitting, "TorchSearch", failing)
    with pytest.raises(DeviceMemoryError, match="while fitting"):
        fitted()


def test_fitting_can_be_stopped():
    asked = iter([False, True])
    with pytest.raises(StoppedError):
        fitted(1000, stopped=lambda: next(asked))


def test_short_memory_is_an_error_of_ours(monkeypatch, in_pytorch):
    def failing(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(torch_fitting, "inputs_at", failing)
    with pytest.raises(DeviceMemoryError, match="while fitting"):
        fitted()


def test_a_device_that_fails_is_an_error_of_ours(monkeypatch, in_pytorch):
    """On a CPU an error of PyTorch is a mistake of this program, and is shown as it is."""

    def failing(*_):
        raise RuntimeError("unspecified launch failure\nadvice")

    monkeypatch.setattr(torch_fitting, "inputs_at", failing)
    model = random_frozen(TINY["west"])
    with pytest.raises(RuntimeError, match="unspecified"):
        Fitting(3)(random_image(20, 20), model, model.description.taps)
    with pytest.raises(P59Error, match=r"^an error on meta while fitting the network \(unspecified launch failure\);"):
        Fitting(3, device="meta")(random_image(20, 20), model, model.description.taps)


def test_steps_whose_gradient_is_no_number_are_left_out(monkeypatch, in_pytorch):
    monkeypatch.setattr(torch_fitting, "bits_coded", lambda mixture, pixels: mixture.means.sum() * torch.nan)
    model = random_frozen(TINY["west"])
    adaptation = Fitting(3)(random_image(20, 20), model, model.description.taps)
    assert adapted(model, adaptation).fingerprint == model.fingerprint


def test_products_are_more_for_larger_images():
    """None for tiny ones, five more with each four doublings, a few at the most; never fewer for more pixels."""
    found = [products_for(pixels, 1000) for pixels in [0, 1, *(int(1.3**power) for power in range(1, 80))]]
    assert found == sorted(found)
    assert (found[0], found[1], found[-1]) == (0, 0, MOST_FITTED)
    assert MOST_FITTED <= MOST_PRODUCTS
    assert [products_for(FEW_PIXELS << doublings, 1000) for doublings in (0, 4, 8, 12)] == [0, 5, 10, MOST_FITTED]


def test_products_are_fewer_for_few_steps():
    assert [products_for(1 << 30, steps) for steps in (1, 100, 300, 700, 5000)] == [3, 4, 6, 10, 10]
    assert products_for(FEW_PIXELS << 2, 100) == products_for(FEW_PIXELS << 2, 5000) == 2


# The command line, and Python.


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Here lies photo.png."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(crop()).save("photo.png")
    return tmp_path


def run(config: str, **overrides) -> int:
    try:
        return command_line.main([str(CONFIGS / config), *(f"{key}={value}" for key, value in overrides.items())])
    except SystemExit as ended:
        return ended.code


def test_the_command_line_adapts(folder, capsys):
    given = {"test_data": "photo.png", "num_threads": 1, "device": "cpu"}
    assert run("encode_wavefront.json", bitstream_path="plain.p59", **given) == 0
    assert run("encode_wavefront.json", bitstream_path="small.p59", adapt_steps=100, **given) == 0
    assert run("encode_wavefront.json", bitstream_path="none.p59", adapt_steps=0, **given) == 0
    plain, small, none = ((folder / f"{name}.p59").read_bytes() for name in ("plain", "small", "none"))
    assert (groups_adapted(plain), groups_adapted(small), none) == ([False], [True], plain)
    assert len(small) < len(plain)
    assert run("decode.json", bitstream_path="small.p59", output_path="back.png") == 0
    with Image.open("back.png") as restored:
        np.testing.assert_array_equal(np.asarray(restored), crop())
    printed = capsys.readouterr()
    assert "wavefront, adapted" in printed.out
    assert printed.err == ""


def test_where_steps_have_no_effect_a_line_says_so(folder, capsys):
    assert run("measure.json", adapt_steps=100, test_data="photo.png", device="cpu") == 0
    assert "'adapt_steps' is ignored" in capsys.readouterr().out


def test_the_configuration_of_the_smallest_files(folder):
    """It asks for many steps of the wavefront order; with few it runs."""
    config, notes = read_config(str(CONFIGS / "encode_smallest.json"), [])
    assert (config.adapt_steps, config.run_mode, notes) == (4000, "encode", [])
    given = {"test_data": "photo.png", "bitstream_path": "out", "device": "cpu", "num_threads": 1}
    assert run("encode_smallest.json", adapt_steps=100, **given) == 0
    assert groups_adapted((folder / "out" / "photo.p59").read_bytes()) == [True]


@pytest.mark.parametrize("steps", [-1, 1.5, "many", 10**9])
def test_wrong_numbers_of_steps_are_refused(folder, capsys, steps):
    assert run("encode_wavefront.json", test_data="photo.png", bitstream_path="out", adapt_steps=steps) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert message.startswith("error: ")
    assert "adapt_steps" in message
    assert str(steps) in message
    assert not (folder / "out").exists()


def test_python_adapts():
    image = crop()
    plain = p59.encode(image, device="cpu", threads=1)
    data = p59.encode(image, device="cpu", threads=1, adapt_steps=100, verify=True)
    assert groups_adapted(data) == [True]
    assert len(data) < len(plain)
    np.testing.assert_array_equal(p59.decode_array(data, device="cpu"), image)
    assert p59.encode(image, device="cpu", threads=1, adapt_steps=0) == plain
    for wrong in (-1, 1.5, True, "many", 10**7):
        with pytest.raises(p59.RequestError, match=f"adapt_steps is {wrong!r}"):
            p59.encode(image, adapt_steps=wrong)


def test_pillow_adapts():
    image, buffer = Image.fromarray(crop()), io.BytesIO()
    image.save(buffer, "P59", adapt_steps=100, threads=1, device="cpu")
    assert groups_adapted(buffer.getvalue()) == [True]
    with Image.open(buffer) as opened:
        assert opened.tobytes() == image.tobytes()
    with pytest.raises(OSError, match="adapt_steps is -3"):
        image.save(io.BytesIO(), "P59", adapt_steps=-3)


# Evaluation.


def test_evaluation_tells_adapted_ones_apart(tmp_path):
    """Rows and tables have the order with the steps; what was measured with them is measured again without."""
    (tmp_path / "set").mkdir()
    Image.fromarray(crop(24, 20)).save(tmp_path / "set" / "0.png")
    where = {"test_data": tmp_path / "set", "results_path": tmp_path / "r.tsv", "output_path": tmp_path / "report"}
    given = {"codecs": "P59", "num_workers": 0, "timing_sizes": "none", "device": "cpu"}
    assert run("evaluate.json", **where, **given, adapt_steps=20) == 0
    assert run("evaluate.json", **where, **given) == 0
    rows = read_rows([tmp_path / "r.tsv"])
    orders = ["sequential", "wavefront", "diagonal"]
    assert [row.order for row in rows] == [*(f"{order}, adapted 20" for order in orders), *orders]
    assert all(row.bytes > 0 and row.pixels for row in rows)
    assert [bool(row.channel_bits) for row in rows] == [False] * 3 + [True] * 3
    table = (tmp_path / "report" / "tables.md").read_text(encoding="utf-8")
    assert table.index("P59 diagonal") < table.index("P59 sequential, adapted 20"), "adapted ones come after the others"
    assert "adapts to each image" in table
    before = (tmp_path / "r.tsv").read_bytes()
    assert run("evaluate.json", **where, **given, adapt_steps=20) == 0
    assert (tmp_path / "r.tsv").read_bytes() == before


def test_jobs_are_named_with_their_steps(tmp_path):
    job = Job(tmp_path, "set", "image", "P59", "diagonal")
    assert [replace(job, adapt_steps=steps).variant for steps in (0, 7)] == ["diagonal", "diagonal, adapted 7"]
