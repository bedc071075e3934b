"""Keys that a task has no use for are named: utils.keys.USED has those that tasks look at, and no others."""

from __future__ import annotations

import pytest
from easydict import EasyDict

from models.store import SHIPPED
from tests.command_line_cases import photograph, run, save
from utils.config import read_config, unused
from utils.keys import KEYS, USED
from utils.tasks.choose import MODES, RUN_MODES, task_of

__all__ = ["run"]  # a fixture

#: What tasks need to be chosen.
GIVEN = {
    "train_data": ".",
    "valid_data": ".",
    "test_data": ".",
    "bitstream_path": "out",
    "output_path": "out",
    "checkpoint_file": "models/weights/rgb.pth.tar",
}
TASKS = [(mode, None) for mode in MODES] + [("test", run_mode) for run_mode in RUN_MODES]


class Watched(EasyDict):
    """Remembers which of its keys were read."""

    def __getattribute__(self, name):
        if name in KEYS:
            object.__getattribute__(self, "read").add(name)
        return super().__getattribute__(name)

    def __getitem__(self, name):
        object.__getattribute__(self, "read").add(name)
        return super().__getitem__(name)


@pytest.mark.parametrize(("mode", "run_mode"), TASKS)
def test_used_keys_are_those_that_are_read(mode, run_mode, tmp_path):
    (tmp_path / "a.json").write_text("{}")
    config, notes = read_config(str(tmp_path / "a.json"), [f"{key}={value}" for key, value in GIVEN.items()])
    watched = Watched()
    object.__setattr__(watched, "read", set())
    for name, value in config.items():
        setattr(watched, name, value)
    watched.mode, watched.run_mode = mode, run_mode
    watched.read.clear()
    task_of(watched, notes)
    used = set(USED[run_mode or mode])
    read = watched.read - {"given", "mode", "run_mode", "adapt_steps"}
    # Models that files name have the channels that they have.
    assert read - {"num_color_channels"} <= used
    # Read only when what they go with is given, or told of by the task when they are.
    rarely = {"mode", "run_mode", "adapt_steps", "exp_name", "calibration_data", "num_threads", "device", "noise"}
    rarely |= {"resize", "sharpen", "half_colour", "images_at_once", "input_gain", "num_color_channels"}
    rarely |= {"run_type", "decoder_method", "verify", "write_encode_data", "train_data"}
    if mode == "validate":
        rarely |= used - {"valid_data", "checkpoint_file"}
    assert used - read <= rarely


def test_every_task_is_listed():
    assert set(USED) == {*MODES, *RUN_MODES}


@pytest.mark.parametrize(
    ("config", "ignored"),
    [
        ("train", "test_data, bitstream_path"),
        ("validate.json", "test_data, bitstream_path"),
        ("evaluate", "bitstream_path, block_size"),
        ("analyze", "bitstream_path, batch_size"),
    ],
)
def test_tasks_name_what_they_ignore(config, ignored, tmp_path):
    if config == "validate.json":
        config = tmp_path / config
        config.write_text('{"mode": "validate"}')
    read, _ = read_config(str(config), [f"{key}=1" for key in ignored.split(", ")])
    task = read.run_mode if read.mode == "test" else read.mode
    assert unused(read, task) == ignored.split(", ")


@pytest.mark.parametrize("given", [{}, {"checkpoint_file": SHIPPED / "rgb.safetensors"}])
def test_an_experiment_whose_checkpoint_is_not_asked_for(run, tmp_path, given):
    """Encoding takes the shipped models then, not the experiment's."""
    save(tmp_path / "a.png", photograph(16, 16))
    assert run("encode_wavefront.json", test_data="a.png", bitstream_path="a.p59", exp_name="mine", **given) == 0
    note = "key 'exp_name' is ignored: only a checkpoint_file is looked for"
    assert (note in run.out) == (not given)


def test_two_names_of_the_output(run, tmp_path):
    save(tmp_path / "a.png", photograph(16, 16))
    assert run("encode_wavefront.json", test_data="a.png", bitstream_path="a.p59") == 0
    assert run("decode.json", bitstream_path="a.p59", output_path="b.png", write_encode_data="c.png") == 0
    assert "key 'write_encode_data' is ignored: output_path says 'b.png'" in run.out
    assert not (tmp_path / "c.png").exists()
    assert run("decode.json", bitstream_path="a.p59", output_path="null", write_encode_data="c.png") == 0
    assert (tmp_path / "c.png").exists()


def test_a_file_where_a_directory_is_to_be(run, tmp_path):
    """Told once, before any image."""
    for name in ("a", "b", "c"):
        save(tmp_path / f"in/{name}.png", photograph(16, 16))
    (tmp_path / "out").write_bytes(b"")
    assert run("encode_wavefront.json", test_data="in", bitstream_path="out") == 2
    assert run.err == "error: 'out' is a file where a directory is to be; name another\n"
