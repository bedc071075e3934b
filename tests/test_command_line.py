"""The command line: what a person types, what is written, what is said, and the exit status."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from easydict import EasyDict

from coders.container import Container
from coders.image_codec import models_named
from models.model_file import read_model
from models.store import SHIPPED, frozen_path_of
from tests.command_line_cases import CONFIGS, ENCODE, checkpoint, encoded, files_in, load, photograph, run, save
from tests.helpers import interrupt_reading, random_image
from utils.config import read_config, unused
from utils.keys import CODEC_NAMES
from utils.tasks import choose, freeze, measure, models
from utils.tasks.report import table

__all__ = ["encoded", "run"]  # fixtures


@pytest.mark.parametrize("config", ENCODE)
def test_encode_and_decode(run, tmp_path, config):
    colour, gray = photograph(), photograph(seed=1)[:, :, :1]
    save(tmp_path / "photos/colour.png", colour)
    save(tmp_path / "photos/gray.png", gray)
    assert run(config, test_data="photos/", bitstream_path="out/") == 0
    assert files_in(tmp_path / "out") == ["colour.p59", "gray.p59"]
    assert run.out.count("each image takes the one that suits it") == 2, "colour and gray"
    assert "bpsp" in run.out
    assert run.err == ""
    assert run("decode.json", bitstream_path="out", output_path="restored") == 0
    assert files_in(tmp_path / "restored") == ["colour.png", "gray.png"]
    np.testing.assert_array_equal(load(tmp_path / "restored/colour.png"), colour)
    np.testing.assert_array_equal(load(tmp_path / "restored/gray.png"), gray)
    assert config.split("_")[1].split(".")[0] in run.out, "the table names the order"


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 9), (9, 1), (2, 3), (5, 5)])
def test_small_sizes_in_all_orders(run, tmp_path, height, width):
    image = random_image(height, width, kind="noise")
    save(tmp_path / "a.png", image)
    for config in ENCODE:
        assert run(config, test_data="a.png", bitstream_path="a.p59") == 0
        assert run("decode.json", bitstream_path="a.p59", output_path="b.png") == 0
        np.testing.assert_array_equal(load(tmp_path / "b.png"), image)


def test_bytes_do_not_depend_on_threads(run, tmp_path):
    save(tmp_path / "a.png", photograph())
    for config in ENCODE:
        for threads in (1, 2, 3):
            out = f"{threads}.p59"
            assert run(config, test_data="a.png", bitstream_path=out, num_threads=threads) == 0
        assert (
            (tmp_path / "1.p59").read_bytes() == (tmp_path / "2.p59").read_bytes() == (tmp_path / "3.p59").read_bytes()
        )


def test_measure(run, tmp_path, encoded):
    image, data = encoded
    save(tmp_path / "a.png", image)
    assert run("measure.json", test_data="a.png") == 0
    ideal = float(next(line for line in run.out.splitlines() if line.startswith("a.png")).split()[-1])
    assert 8 * (len(data) - 64) / image.size <= ideal * 1.001
    assert ideal <= 8 * len(data) / image.size
    assert files_in(tmp_path) == ["a.png"], "measuring writes nothing"


def test_an_interrupted_measurement_shows_what_was_measured(run, tmp_path, monkeypatch):
    for number in range(3):
        save(tmp_path / f"photos/{number}.png", photograph(16, 16, number))
    (tmp_path / "photos/0.png").write_bytes(b"no image")
    interrupt_reading(monkeypatch, measure, "2.png")
    assert run("measure.json", test_data="photos") == 130
    assert "mean of 1 " in run.out
    assert "1.png" in run.out
    assert [line.split(":")[0] for line in run.err.splitlines()] == [
        "failed",
        "interrupted; files that are there are complete",
    ]


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.json")), ids=lambda path: path.name)
def test_every_configuration_is_accepted(path):
    config, notes = read_config(str(path), [])
    assert config.mode is not None
    assert notes == []


def test_freeze_then_use(run, tmp_path):
    checkpoint(tmp_path / "experiments/mine/checkpoints/model_best.pth.tar")
    save(tmp_path / "photos/a.png", photograph())
    status = run("freeze.json", exp_name="mine", calibration_data="photos", frozen_path="m/mine.safetensors")
    assert status == 0
    name = read_model(tmp_path / "m/mine.safetensors").name
    assert name in run.out
    assert (
        run("encode_wavefront.json", test_data="photos", bitstream_path="o", checkpoint_file="m/mine.safetensors") == 0
    )
    assert name in run.out
    status = run("decode.json", bitstream_path="o", output_path="r", checkpoint_file="m/mine.safetensors")
    assert status == 0
    np.testing.assert_array_equal(load(tmp_path / "r/a.png"), photograph())


def test_a_checkpoint_is_frozen_once_and_then_decodes(run, tmp_path):
    """The bare name is looked for where the published code keeps checkpoints."""
    directory = tmp_path / "experiments/mine/checkpoints"
    checkpoint(directory / "model_best.pth.tar")
    save(tmp_path / "photos/a.png", photograph())
    use = {"exp_name": "mine", "checkpoint_file": "model_best.pth.tar"}
    assert run("encode_wavefront.json", test_data="photos", bitstream_path="1", calibration_data="photos", **use) == 0
    kept = [path for path in directory.iterdir() if path.suffix == ".safetensors"]
    assert len(kept) == 1
    before = kept[0].read_bytes()
    assert run("encode_wavefront.json", test_data="photos", bitstream_path="2", **use) == 0
    assert kept[0].read_bytes() == before
    assert (tmp_path / "1/a.p59").read_bytes() == (tmp_path / "2/a.p59").read_bytes()
    assert run("decode.json", bitstream_path="2", output_path="r", **use) == 0
    np.testing.assert_array_equal(load(tmp_path / "r/a.png"), photograph())


PUBLISHED_JSON = {
    "mode": "test", "run_mode": "encode", "run_type": "P", "decoder_method": 1, "exp_name": "lossless",
    "device": "cpu", "resume_training": False, "num_color_channels": 3, "num_mix_GMM": 3, "res_con": False,
    "batch_size": 32, "patch_size": 16, "val_batch_size": 1, "val_patch_size": 512, "learning_rate": 1e-4,
    "max_epoch": 400, "validate_every": 5, "test_every": 50, "checkpoint_file": "model_best.pth.tar",
    "train_data": ["train/a", "train/b"], "valid_data": "valid", "test_data": "photos", "H": 64, "W": 64,
    "bitstream_path": "out/outfile.bin", "write_encode_data": "restored/", "paralel_data_matrix": "a.pkl",
    "paralel_data_matrix_dec_1": "b.pkl", "paralel_data_matrix_dec_2": "c.pkl", "paralel_data_matrix_ctx": "d.pkl",
}  # fmt: skip


def test_the_published_json_runs(run, tmp_path):
    checkpoint(tmp_path / "experiments/lossless/checkpoints/model_best.pth.tar")
    image = photograph(64, 64)
    save(tmp_path / "photos/a.png", image)
    (tmp_path / "config.json").write_text(json.dumps(PUBLISHED_JSON))
    assert run(tmp_path / "config.json", calibration_data="photos") == 0
    for key in PUBLISHED_JSON:
        if key.startswith("paralel") or key in ("H", "W"):
            mentions = [line for line in run.out.splitlines() if repr(key) in line]
            assert len(mentions) == 1, f"one line says that {key} has no meaning"
    assert (tmp_path / "out/outfile.bin").is_file()
    (tmp_path / "config.json").write_text(json.dumps({**PUBLISHED_JSON, "run_mode": "decode"}))
    assert run(tmp_path / "config.json") == 0
    np.testing.assert_array_equal(load(tmp_path / "restored/outfile.png"), image)


def test_an_image_is_never_cropped(run, tmp_path):
    image = photograph(30, 50)
    save(tmp_path / "a.png", image)
    assert run("encode_wavefront.json", test_data="a.png", bitstream_path="a.p59", H=16, W=16) == 0
    assert sum("is ignored: the whole image is coded" in line for line in run.out.splitlines()) == 2
    assert run("decode.json", bitstream_path="a.p59", output_path="b.png") == 0
    np.testing.assert_array_equal(load(tmp_path / "b.png"), image)


def test_images_at_once(run, tmp_path):
    save(tmp_path / "a.png", photograph(16, 16))
    assert run("encode_wavefront.json", test_data="a.png", bitstream_path="a.p59", images_at_once=8, device="cpu") == 0
    assert "'images_at_once'" not in run.out
    assert run("encode_wavefront.json", test_data="a.png", bitstream_path="b.p59", images_at_once=0) == 2
    run.says_once("images_at_once", "at least 1")


def test_some_tasks_take_one_image_after_the_other_on_any_device(monkeypatch):
    """Measuring and the demo: `images_at_once` changes nothing there, and a note says so."""
    monkeypatch.setattr(choose, "device_of", lambda device: device)
    for at_once, task, who in (
        (8, "measure", "run_mode measure"),
        (8, "demo", "run_mode demo"),
        (1, None, "a CPU without the native core"),
        (8, None, None),
    ):
        backend, notes = SimpleNamespace(at_once=at_once), []
        monkeypatch.setattr(choose, "backend_for", lambda *arguments, backend=backend: backend)
        assert choose.backend_of(EasyDict(device="cuda", num_threads=None, images_at_once=8), notes, task) is backend
        expected = [f"key 'images_at_once' is ignored: {who} takes one image after the other"] if who else []
        assert notes == expected


@pytest.mark.parametrize(
    ("config", "given", "ignored"),
    [
        ("encode_wavefront.json", {"num_workers": 2, "turn": True, "H": 1}, "num_workers"),
        ("decode.json", {"block_size": 8, "run_type": "P", "H": 1}, "run_type, block_size"),
        ("measure.json", {"skip_existing": True, "overwrite": False}, "skip_existing, overwrite"),
        ("demo.json", {"run_type": "P", "exp_name": "mine"}, "run_type"),
        ("tables.json", {"num_threads": 1}, "num_threads"),
        ("freeze.json", {"device": "cpu", "noise": 0.1}, "device"),
        ("encode_wavefront.json", {}, ""),
        ("freeze.json", {}, ""),
    ],
)
def test_given_keys_that_a_task_does_not_use_are_named(config, given, ignored):
    settings, _ = read_config(str(CONFIGS / config), [f"{key}={json.dumps(value)}" for key, value in given.items()])
    task = settings.run_mode or settings.mode
    assert ", ".join(unused(settings, task)) == ignored


def test_a_key_without_use_is_told(run, tmp_path):
    save(tmp_path / "a.png", photograph(16, 16))
    assert run("measure.json", test_data="a.png", block_size=8) == 0
    assert "run_mode measure ignores block_size: it has no use for it" in run.out


def test_the_codecs_of_the_help_are_those_there_are():
    from utils.evaluation.codecs import CODECS, OURS

    assert ", ".join([*CODECS, OURS]) == CODEC_NAMES


# Where things go.


def test_measuring_frozen_models_and_checkpoints_together(run, tmp_path):
    """The float columns are those of checkpoints; their means would be of some images only, and are left out."""
    checkpoint(tmp_path / "c.pth.tar")
    save(tmp_path / "photos/a.png", photograph())
    save(tmp_path / "photos/b.png", photograph(seed=1))
    models = f'["c.pth.tar", "{SHIPPED / "rgb.safetensors"}"]'
    assert run("measure.json", test_data="photos", checkpoint_file=models) == 0
    assert "frozen, ideal" in run.out
    assert run("measure.json", test_data="photos", checkpoint_file="c.pth.tar") == 0
    assert "float, loss" in run.out
    assert "float, loss" not in run.out.split("mean of")[1]


def test_a_kept_frozen_form_and_a_wrong_name_are_named(run, tmp_path):
    checkpoint(tmp_path / "experiments/mine/checkpoints/model_best.pth.tar")
    save(tmp_path / "photos/a.png", photograph())
    use = {"test_data": "photos", "exp_name": "mine"}
    named = {"checkpoint_file": "model_best.pth.tar", "calibration_data": "photos"}
    for config, target, times in (
        ("measure", {}, 0),
        ("encode_wavefront", {"bitstream_path": "o"}, 0),
        ("measure", {}, 1),
    ):
        assert run(f"{config}.json", **named, **target, **use) == 0
        assert run.out.count("calibration_data is ignored") == times
        assert "is taken" not in run.out
    for given in ({"checkpoint_file": SHIPPED / "rgb.safetensors"}, {}):
        assert run("measure.json", calibration_data="photos", **given, **use) == 0
        assert run.out.count("calibration_data is ignored") == 1
    assert run("measure.json", checkpoint_file="checkpoint.pth.tar", **use) == 0, "the published code's way"
    taken = (
        "checkpoint_file 'checkpoint.pth.tar' is not there; experiments/mine/checkpoints/model_best.pth.tar is taken"
    )
    assert run.out.count(taken) == 1
    assert run("validate.json", checkpoint_file="checkpoint.pth.tar", valid_data="photos", exp_name="mine") == 0
    assert run.out.count(taken) == 1
    frozen = {"frozen_path": "f.safetensors", "calibration_data": "photos", "exp_name": "mine"}
    assert run("freeze.json", checkpoint_file="checkpoint.pth.tar", **frozen) == 0
    assert run.out.count(taken) == 1
    assert run("measure.json", checkpoint_file="rgb_5.safetensors", **use) == 2
    run.says_once("rgb_5.safetensors", "does not exist")


def test_what_another_run_freezes_meanwhile_is_not_replaced(run, tmp_path, monkeypatch):
    """Neither the frozen form of a checkpoint that codes files nor the result of mode freeze."""
    source = checkpoint(tmp_path / "c.pth.tar")
    save(tmp_path / "a.png", photograph())
    theirs = (SHIPPED / "rgb_06.safetensors").read_bytes()
    freeze_on = models.freeze_on

    def meanwhile(path):
        def slow(*case, **how):
            path.write_bytes(theirs)
            return freeze_on(*case, **how)

        return slow

    kept = frozen_path_of(source, source.read_bytes())
    use = {"checkpoint_file": "c.pth.tar", "calibration_data": "a.png"}
    monkeypatch.setattr(models, "freeze_on", meanwhile(kept))
    assert run("encode_wavefront.json", test_data="a.png", bitstream_path="out/", **use) == 0
    assert "calibration_data is ignored: c." in run.out
    assert kept.read_bytes() == theirs
    named = models_named(Container.from_bytes((tmp_path / "out/a.p59").read_bytes()))
    assert named == (read_model(kept).file_id,), "the model that is kept, by which the file can be decoded"
    monkeypatch.setattr(freeze, "freeze_on", meanwhile(tmp_path / "f.safetensors"))
    assert run("freeze.json", frozen_path="f.safetensors", **use) == 2
    run.says_once("f.safetensors exists and is another model")
    assert (tmp_path / "f.safetensors").read_bytes() == theirs


def test_decoding_keeps_no_frozen_form(run, tmp_path):
    """Which would be in the way of one that is frozen on the right images."""
    source = Path(shutil.copy(SHIPPED / "rgb.pth.tar", tmp_path / "c.pth.tar"))
    save(tmp_path / "a.png", photograph())
    save(tmp_path / "b.png", random_image(40, 40, kind="noise"))
    use = {"checkpoint_file": "c.pth.tar", "calibration_data": "a.png"}
    assert run("encode_wavefront.json", test_data="a.png", bitstream_path="out/", **use) == 0
    frozen_path_of(source, source.read_bytes()).unlink()
    assert run("decode.json", bitstream_path="out", output_path="back", **(use | {"calibration_data": "b.png"})) == 1
    assert not list(tmp_path.glob("*.safetensors"))
    assert run("decode.json", bitstream_path="out", output_path="back", **use) == 0
    np.testing.assert_array_equal(load(tmp_path / "back/a.png"), photograph())


def test_a_frozen_form_is_kept_only_where_files_are_coded_with_it(run, tmp_path):
    source = checkpoint(tmp_path / "c.pth.tar")
    save(tmp_path / "photos/a.png", photograph(12, 12))
    use = {"test_data": "photos", "checkpoint_file": "c.pth.tar", "calibration_data": "photos", "device": "cpu"}
    more = {"codecs": "P59", "results_path": "r.tsv", "timing_sizes": "none", "orders": "wavefront", "num_workers": 0}
    for config in ("measure.json", "analyze.json", "evaluate.json"):
        for _ in range(2):
            assert run(config, output_path="out", **use, **more) == 0
            assert run.out.count("c.pth.tar is frozen for this run only, on calibration_data; ") == 1
    assert "1 measurements were in r.tsv already" in run.out
    assert files_in(tmp_path)[0] == "c.pth.tar"
    assert not list(tmp_path.glob("*.safetensors"))
    frozen_path_of(source, source.read_bytes()).mkdir()  # in its place nothing can be written, whoever asks
    assert run("encode_wavefront.json", bitstream_path="o/", **use) == 1
    assert "cannot write" in run.err
    assert not (tmp_path / "o").exists()


def test_evaluation_says_which_keys_it_does_not_follow(run, tmp_path):
    save(tmp_path / "photos/a.png", photograph(12, 12))
    use = {"test_data": "photos", "results_path": "r.tsv", "output_path": "out", "device": "cpu", "num_workers": 0}
    use |= {"codecs": "P59", "orders": "wavefront", "timing_sizes": "none"}
    ignored = {"run_type": "S", "decoder_method": 2, "num_color_channels": 3, "images_at_once": 2, "verify": "false"}
    ignored |= {"models": "shipped", "checkpoint_file": "absent.pth.tar", "calibration_data": "photos"}
    assert run("evaluate.json", **use) == 0
    assert "is ignored" not in run.out
    assert run("evaluate.json", **use, **ignored) == 0
    named = [line.split("'")[1] for line in run.out.splitlines() if "is ignored: " in line]
    assert sorted(named) == sorted(ignored.keys() - {"models"})
    del use["results_path"]
    assert run("analyze.json", **use, images_at_once=2) == 0
    assert run.out.count("'images_at_once' is ignored") == 1


def test_the_experiments_model_goes_before_a_file_here(run, tmp_path):
    inside = tmp_path / "experiments/mine/checkpoints/model.safetensors"
    inside.parent.mkdir(parents=True)
    for path, name in ((inside, "rgb"), (tmp_path / "model.safetensors", "rgb_01"), (tmp_path / "here", "rgb_02")):
        path.write_bytes((SHIPPED / f"{name}.safetensors").read_bytes())
    save(tmp_path / "a.png", photograph())
    for name, taken in (("model.safetensors", "rgb"), ("./model.safetensors", "rgb_01"), ("here", "rgb_02")):
        assert run("measure.json", test_data="a.png", exp_name="mine", checkpoint_file=name) == 0
        assert read_model(SHIPPED / f"{taken}.safetensors").name in run.out


def test_gray_values_stored_as_rgb_need_a_gray_model_only(run, tmp_path):
    image = np.repeat(photograph()[:, :, :1], 3, 2)
    save(tmp_path / "a.png", image)
    gray = SHIPPED / "gray.safetensors"
    assert run("encode_wavefront.json", test_data="a.png", bitstream_path="o/", checkpoint_file=gray) == 0
    assert run("decode.json", bitstream_path="o/", output_path="r/", checkpoint_file=gray) == 0
    np.testing.assert_array_equal(load(tmp_path / "r/a.png"), image)


def test_a_fingerprint_that_looks_like_a_number_is_shown_as_it_is():
    shown = table([["a", 1234, 0.5, "0e493286"], ["2e3", 5, 1.25, ""]], ["f", "n", "x", "m"], ["", "", ".3f", ""])
    assert all(text in shown for text in ("0e493286", "2e3", "1,234", "0.500", "1.250"))
