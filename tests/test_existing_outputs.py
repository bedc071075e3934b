"""Outputs that exist: skipped, replaced or refused."""

from __future__ import annotations

import os
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from coders.container import Container
from tests.command_line_cases import checkpoint, encoded, files_in, load, photograph, run, save
from utils.tasks import decode, encode

__all__ = ["encoded", "run"]  # fixtures


def test_skip_existing(run, tmp_path):
    save(tmp_path / "photos/a.png", photograph(16, 16))
    save(tmp_path / "photos/b.png", photograph(16, 16, 1))
    (tmp_path / "out").mkdir()
    (tmp_path / "out/a.p59").write_bytes(b"mine")
    assert run("encode_wavefront.json", test_data="photos", bitstream_path="out", skip_existing="true") == 1
    run.says_once("photos/a.png", "does not hold this image")
    assert (tmp_path / "out/a.p59").read_bytes() == b"mine"
    assert (tmp_path / "out/b.p59").is_file()
    assert run("encode_wavefront.json", test_data="photos", bitstream_path="out", overwrite="true") == 0
    assert (tmp_path / "out/a.p59").read_bytes() != b"mine"
    (tmp_path / "restored").mkdir()
    (tmp_path / "restored/b.png").write_bytes(b"mine")
    assert run("decode.json", bitstream_path="out", output_path="restored", skip_existing="true") == 1
    run.says_once("out/b.p59", "another picture")
    assert (tmp_path / "restored/b.png").read_bytes() == b"mine"
    (tmp_path / "restored/b.png").unlink()
    assert run("decode.json", bitstream_path="out", output_path="restored", skip_existing="true") == 0
    assert "1 outputs exist and were left as they are, not compared with their inputs" in run.out


def nothing_of(data: bytes) -> bytes:
    return b""


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def flipped(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


@pytest.mark.parametrize("damage", [nothing_of, cut, flipped])
def test_damaged_outputs_are_not_taken_for_done(run, tmp_path, damage):
    """Empty, cut short or changed ones; another whole image's stay."""
    for name, seed in (("a.png", 0), ("b.png", 1)):
        save(tmp_path / "photos" / name, photograph(40, 48, seed))
    whole = {}
    for config, source, target, names in (
        ("encode_wavefront.json", "test_data", "bitstream_path", ("photos", "out", "a.p59", "b.p59")),
        ("decode.json", "bitstream_path", "output_path", ("out", "back", "a.png", "b.png")),
    ):
        request = {source: names[0], target: names[1]}
        assert run(config, **request) == 0
        first, second = (tmp_path / names[1] / name for name in names[2:])
        whole[first], other = first.read_bytes(), second.read_bytes()
        first.write_bytes(damage(whole[first]))
        second.write_bytes(whole[first])
        assert run(config, **request, skip_existing="true") == 0
        assert f"{names[1]}/{names[2]} is damaged" in run.out
        assert "1 outputs exist" in run.out
        assert first.read_bytes() == whole[first]
        assert second.read_bytes() == whole[first], "it was not compared"
        second.write_bytes(other)


def test_a_file_with_other_metadata_is_another_file(run, tmp_path):
    image = Image.fromarray(photograph(16, 16))
    image.save(tmp_path / "a.png", dpi=(72, 72))
    request = {"test_data": "a.png", "bitstream_path": "out/"}
    assert run("encode_wavefront.json", **request) == 0
    before = (tmp_path / "out/a.p59").read_bytes()
    image.save(tmp_path / "a.png", dpi=(300, 300))
    assert run("encode_wavefront.json", **request) == 1
    run.says_once("out/a.p59", "metadata", "overwrite=true")
    assert (tmp_path / "out/a.p59").read_bytes() == before
    assert run("encode_wavefront.json", **request, overwrite="true") == 0
    assert run("encode_wavefront.json", **request) == 0, "the same metadata"


def test_only_files_of_the_same_image_are_replaced(run, tmp_path):
    """Two folders whose images have the same names, encoded into one; and images restored beside others."""
    for folder, seed in (("trip1", 0), ("trip2", 1)):
        save(tmp_path / folder / "a.png", photograph(40, 48, seed))
    save(tmp_path / "trip2/b.png", photograph(40, 48, 2))
    assert run("encode_wavefront.json", test_data="trip1", bitstream_path="out") == 0
    before = (tmp_path / "out/a.p59").read_bytes()
    assert run("encode_diagonal.json", test_data="trip1", bitstream_path="out") == 0, "the same image in another order"
    other_order = (tmp_path / "out/a.p59").read_bytes()
    assert other_order != before
    assert run("encode_wavefront.json", test_data="trip2", bitstream_path="out") == 1
    run.says_once("a.p59", "does not hold this image", "overwrite=true")
    assert files_in(tmp_path / "out") == ["a.p59", "b.p59"], "the others are done"
    assert (tmp_path / "out/a.p59").read_bytes() == other_order

    same, other = (tmp_path / "trip1/a.png").read_bytes(), (tmp_path / "trip2/a.png").read_bytes()
    assert run("decode.json", bitstream_path="out/a.p59", output_path="trip1") == 0
    assert (tmp_path / "trip1/a.png").read_bytes() == same, "it stays as it is"
    assert run("decode.json", bitstream_path="out/a.p59", output_path="trip2") == 1
    run.says_once("a.png", "another picture", "overwrite=true")
    assert (tmp_path / "trip2/a.png").read_bytes() == other
    (tmp_path / "trip2/b.png").write_bytes(b"no image")
    assert run("decode.json", bitstream_path="out/b.p59", output_path="trip2") == 1
    assert (tmp_path / "trip2/b.png").read_bytes() == b"no image"
    assert run("decode.json", bitstream_path="out", output_path="trip2", overwrite="true") == 0
    np.testing.assert_array_equal(load(tmp_path / "trip2/a.png"), photograph(40, 48, 0))


@pytest.mark.skipif(os.name != "posix", reason="makes pipes and links")
@pytest.mark.parametrize("how", [{}, {"overwrite": "true"}, {"skip_existing": "true"}], ids=str)
def test_what_is_no_file_is_neither_read_nor_replaced(run, tmp_path, monkeypatch, how):
    """A pipe, a device, a directory in place of an output; a file, a link to nothing in place of its folder. All of
    them are noticed before anything is coded."""
    names = ("pipe", "device", "folder", "file/a", "link/a")
    for name in (*names, "fine"):
        save(tmp_path / f"photos/{name}.png", photograph(16, 16))
    assert run("encode_wavefront.json", test_data="photos", bitstream_path="coded") == 0
    read = []
    for module in (encode, decode):
        coded = module.decode_picture
        monkeypatch.setattr(module, "decode_picture", lambda *case, coded=coded: read.append(case) or coded(*case))
    for config, source, target, ending in (
        ("encode_wavefront.json", {"test_data": "photos"}, {"bitstream_path": "out"}, "p59"),
        ("decode.json", {"bitstream_path": "coded"}, {"output_path": "back"}, "png"),
    ):
        (folder,) = map(tmp_path.joinpath, target.values())
        folder.mkdir()
        os.mkfifo(folder / f"pipe.{ending}")
        (folder / f"device.{ending}").symlink_to("/dev/zero")
        (folder / f"folder.{ending}").mkdir()
        (folder / "file").write_bytes(b"mine")
        (folder / "link").symlink_to("nowhere")
        read.clear()
        assert run(config, **source, **target, **how) == 1
        failures = run.err.splitlines()
        assert len(failures) == len(names)
        assert all(line.startswith("failed: ") and "cannot write" in line for line in failures)
        assert "space" not in run.err
        said = ("no file but", "no file but", "a directory;", "file' is no directory", "link' is a link to nothing")
        for name, what in zip(names, said, strict=True):
            assert any(f"{name}.{ending}" in line and what in line for line in failures)
        assert len(read) == 1
        assert (folder / f"fine.{ending}").is_file()
        assert (folder / f"pipe.{ending}").is_fifo()
        assert (folder / f"device.{ending}").is_symlink()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device without end")
@pytest.mark.parametrize(
    ("config", "request_"),
    [
        ("freeze.json", {"checkpoint_file": "c.pth.tar", "frozen_path": "/dev/full"}),
        ("evaluate.json", {"test_data": "photos", "codecs": "PNG", "results_path": "/dev/full"}),
        ("tables.json", {"results_path": "results.tsv", "output_path": "/dev/full"}),
    ],
)
def test_a_device_is_not_read_for_what_it_might_hold(run, tmp_path, config, request_):
    save(tmp_path / "photos/a.png", photograph(16, 16))
    checkpoint(tmp_path / "c.pth.tar")
    assert run(config, **request_) == 1
    run.says_once("'/dev/full'", "it is no file but a device", "choose another path")


@pytest.mark.skipif(os.name != "posix", reason="makes pipes and links")
def test_a_link_to_a_file_is_an_output_like_a_file(run, tmp_path):
    save(tmp_path / "a.png", photograph(16, 16))
    (tmp_path / "out").mkdir()
    (tmp_path / "out/a.p59").symlink_to("elsewhere.p59")
    assert run("encode_wavefront.json", test_data="a.png", bitstream_path="out") == 0
    (tmp_path / "out/a.p59").rename(tmp_path / "out/elsewhere.p59")
    (tmp_path / "out/a.p59").symlink_to("elsewhere.p59")
    assert run("encode_wavefront.json", test_data="a.png", bitstream_path="out") == 0


def test_profiles_compressed_otherwise_are_the_same(run, tmp_path):
    """As another release of a library may do."""
    profile = b"profile" * 50
    Image.fromarray(photograph(16, 16)).save(tmp_path / "a.png", icc_profile=profile)
    assert run("encode_wavefront.json", test_data="a.png", bitstream_path="out") == 0
    container = Container.from_bytes((tmp_path / "out/a.p59").read_bytes())
    stored = b"iCCP" + b"ICC Profile\0\0" + zlib.compress(profile, 0)
    chunks = tuple((kind, stored if data[:4] == b"iCCP" else data) for kind, data in container.chunks)
    assert chunks != container.chunks
    (tmp_path / "out/a.p59").write_bytes(replace(container, chunks=chunks).to_bytes())
    assert run("encode_wavefront.json", test_data="a.png", bitstream_path="out") == 0
    (tmp_path / "out/a.p59").write_bytes(replace(container, chunks=chunks).to_bytes())
    for _ in range(2):
        assert run("decode.json", bitstream_path="out", output_path="restored") == 0
