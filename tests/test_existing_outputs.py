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
    assert "1 outputs exist and were left as they are" in run.out


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


@pytest.mark.parametrize("ending", ["PNG", "JPEG"])
def test_files_of_another_kind_are_not_damaged_outputs(run, tmp_path, ending):
    """A PNG file begins with the byte that a .p59 file begins with; a JPEG file is whole, but no PNG file."""
    save(tmp_path / "photos/a.png", photograph(16, 16))
    assert run("encode_wavefront.json", test_data="photos", bitstream_path="coded") == 0
    for config, request, output in (
        ("encode_wavefront.json", {"test_data": "photos", "bitstream_path": "out"}, tmp_path / "out/a.p59"),
        ("decode.json", {"bitstream_path": "coded", "output_path": "back"}, tmp_path / "back/a.png"),
    ):
        output.parent.mkdir()
        Image.fromarray(photograph(16, 16, 1)).save(output, ending)
        data = output.read_bytes()
        os.utime(output, (4e9, 4e9))  # later than its input, so that it would be taken for done
        if (ending, config) == ("PNG", "decode.json"):
            continue
        assert run(config, **request, skip_existing="true") == 1
        run.says_once(str(output.relative_to(tmp_path)), "overwrite=true")
        assert output.read_bytes() == data


def test_restored_images_with_other_metadata_are_others(run, tmp_path):
    image = Image.fromarray(photograph(16, 16))
    image.save(tmp_path / "a.png", dpi=(300, 300))
    assert run("encode_wavefront.json", test_data="a.png", bitstream_path="out/") == 0
    (tmp_path / "back").mkdir()
    image.save(tmp_path / "back/a.png")
    data = (tmp_path / "back/a.png").read_bytes()
    assert run("decode.json", bitstream_path="out", output_path="back") == 1
    run.says_once("a.p59", "another picture")
    assert (tmp_path / "back/a.png").read_bytes() == data


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
    assert run("encode_diagonal.json", test_data="trip1", bitstream_path="out") == 0, "the same image in another order"
    before = (tmp_path / "out/a.p59").read_bytes()
    assert run("encode_wavefront.json", test_data="trip2", bitstream_path="out") == 1
    run.says_once("a.p59", "does not hold this image", "overwrite=true")
    assert files_in(tmp_path / "out") == ["a.p59", "b.p59"], "the others are done"
    assert (tmp_path / "out/a.p59").read_bytes() == before

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


@pytest.mark.skipif(os.name != "posix", reason="makes links")
def test_a_link_to_a_file_is_an_output_like_a_file(run, tmp_path):
    """One to nothing may be to a disk that is not there: it is not replaced."""
    request = {"test_data": "a.png", "bitstream_path": "out/"}
    save(tmp_path / "a.png", photograph(16, 16))
    (tmp_path / "out").mkdir()
    (tmp_path / "out/a.p59").symlink_to("elsewhere.p59")
    for how in ({}, {"overwrite": "true"}, {"skip_existing": "true"}):
        assert run("encode_wavefront.json", **request, **how) == 1
        run.says_once("'out/a.p59': it is a link to nothing; remove it")
    assert files_in(tmp_path / "out") == []
    (tmp_path / "out/a.p59").unlink()
    assert run("encode_wavefront.json", **request) == 0
    (tmp_path / "out/a.p59").rename(tmp_path / "out/elsewhere.p59")
    (tmp_path / "out/a.p59").symlink_to("elsewhere.p59")
    before = (tmp_path / "out/a.p59").read_bytes()
    assert run("encode_wavefront.json", **request) == 0
    assert (tmp_path / "out/a.p59").is_symlink(), "the same is there"
    assert run("encode_diagonal.json", **request, overwrite="true") == 0
    assert not (tmp_path / "out/a.p59").is_symlink()
    assert (tmp_path / "out/elsewhere.p59").read_bytes() == before, "what a link leads to stays"


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


@pytest.mark.parametrize("order", ["wavefront", "diagonal"])
def test_what_another_process_makes_meanwhile_is_not_replaced(run, tmp_path, monkeypatch, order):
    """Two folders whose images have the same names, encoded into one at the same time, and decoded into one."""
    for folder, seed in (("trip1", 0), ("trip2", 1)):
        save(tmp_path / folder / "a.png", photograph(40, 48, seed))
        assert run(f"encode_{order}.json", test_data=folder, bitstream_path=f"coded/{folder}") == 0
    files = {name: (tmp_path / f"coded/{name}/a.p59").read_bytes() for name in ("trip1", "trip2")}
    coded, restored = encode.encode_picture, decode.png_of

    def meanwhile(done, name, data):
        def other(*case):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_bytes(data)
            return done(*case)

        return other

    monkeypatch.setattr(encode, "encode_picture", meanwhile(coded, "out/a.p59", files["trip1"]))
    assert run(f"encode_{order}.json", test_data="trip2", bitstream_path="out") == 1
    run.says_once("trip2/a.png", "does not hold this image")
    assert (tmp_path / "out/a.p59").read_bytes() == files["trip1"]
    (tmp_path / "out/a.p59").unlink()
    assert run(f"encode_{order}.json", test_data="trip1", bitstream_path="out") == 0, "the same image"
    assert files_in(tmp_path / "out") == ["a.p59"]

    first = (tmp_path / "trip1/a.png").read_bytes()
    monkeypatch.setattr(decode, "png_of", meanwhile(restored, "back/a.png", first))
    assert run("decode.json", bitstream_path="coded/trip2", output_path="back") == 1
    run.says_once("a.p59", "another picture")
    assert (tmp_path / "back/a.png").read_bytes() == first
    (tmp_path / "back/a.png").unlink()
    assert run("decode.json", bitstream_path="coded/trip1", output_path="back") == 0, "the same image"
    assert files_in(tmp_path / "back") == ["a.png"]


def test_a_place_that_another_process_has_taken_is_not_a_damaged_file(run, tmp_path, monkeypatch):
    """Where there are no hard links it is an empty file for a moment."""
    save(tmp_path / "a.png", photograph(40, 48))
    coded, restored = encode.encode_picture, decode.png_of

    def meanwhile(done, name):
        def other(*case):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_bytes(b"")
            return done(*case)

        return other

    monkeypatch.setattr(encode, "encode_picture", meanwhile(coded, "out/a.p59"))
    request = {"test_data": "a.png", "bitstream_path": "out/"}
    assert run("encode_wavefront.json", **request, skip_existing="true") == 1
    run.says_once("a.png", "or is damaged")
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert run("encode_wavefront.json", **request, skip_existing="true") == 0
    monkeypatch.setattr(decode, "png_of", meanwhile(restored, "back/a.png"))
    assert run("decode.json", bitstream_path="out", output_path="back", skip_existing="true") == 1
    run.says_once("a.p59", "or damaged")


def test_restored_images_that_stay_are_counted_as_skipped(run, tmp_path):
    save(tmp_path / "a.png", photograph(40, 48))
    assert run("encode_wavefront.json", test_data="a.png", bitstream_path="out/") == 0
    assert run("decode.json", bitstream_path="out", output_path="back") == 0
    os.utime(tmp_path / "out/a.p59", (2e9, 2e9))
    assert run("decode.json", bitstream_path="out", output_path="back", skip_existing="true") == 0
    assert "1 outputs exist and were left as they are" in run.out
    assert "mean bpsp" not in run.out


def test_of_two_files_of_an_image_the_smaller_stays(run, tmp_path):
    save(tmp_path / "a.png", photograph(120, 160))
    request = {"test_data": "a.png", "bitstream_path": "out/"}
    assert run("encode_diagonal.json", **request) == 0
    larger = (tmp_path / "out/a.p59").read_bytes()
    assert run("encode_wavefront.json", **request) == 0
    smaller = (tmp_path / "out/a.p59").read_bytes()
    assert len(smaller) < len(larger)
    assert run("encode_diagonal.json", **request) == 0
    assert "out/a.p59 holds this image in fewer bytes and stays; overwrite=true replaces it" in run.out
    assert (tmp_path / "out/a.p59").read_bytes() == smaller
    row = next(line for line in run.out.splitlines() if line.startswith("out/a.p59 ") and "holds" not in line)
    assert f"{len(smaller):,}" in row
    assert "wavefront" in row
    assert run("encode_diagonal.json", **request, overwrite="true") == 0
    assert (tmp_path / "out/a.p59").read_bytes() == larger


def older(path: Path, seconds: float = 100) -> None:
    stamp = path.stat().st_mtime - seconds
    os.utime(path, (stamp, stamp))


def test_outputs_that_may_be_anothers_are_not_skipped_unseen(run, tmp_path):
    """Names that depend on what else is there; an input that is newer than its output."""
    request = {"bitstream_path": "out", "skip_existing": "true"}
    for folder, seed in (("y", 1), ("z", 2)):
        older(save(tmp_path / folder / "a.png", photograph(40, 48, seed)))
    assert run("encode_wavefront.json", test_data='["y", "z"]', **request) == 0
    assert files_in(tmp_path / "out") == ["a.png.p59", "a.png~2.p59"]
    assert run("encode_wavefront.json", test_data='["y", "z"]', **request) == 0
    assert "2 outputs exist and were left as they are" in run.out
    older(save(tmp_path / "x/a.png", photograph(40, 48, 0)))
    before = {path: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert run("encode_wavefront.json", test_data='["x", "y", "z"]', **request) == 1
    assert run.err.count("does not hold this image") == 2, "x is not encoded, and that is said"
    assert all(path.read_bytes() == data for path, data in before.items())

    older(save(tmp_path / "scan.png", photograph(40, 48)))
    assert run("encode_wavefront.json", test_data="scan.png", bitstream_path="scans/") == 0
    for seed, status in ((1, 1), (0, 0)):
        save(tmp_path / "scan.png", photograph(40, 48, seed))
        os.utime(tmp_path / "scan.png", (2e9, 2e9))
        request = {"test_data": "scan.png", "bitstream_path": "scans/", "skip_existing": "true"}
        assert run("encode_wavefront.json", **request) == status
        assert run.err.count("scan.png: 'scans/scan.p59' exists and does not hold this image") == status
    assert "1 outputs exist and were left as they are" in run.out


def test_restored_images_that_may_be_anothers_are_not_skipped_unseen(run, tmp_path):
    save(tmp_path / "a.png", photograph(40, 48))
    assert run("encode_wavefront.json", test_data="a.png", bitstream_path="out/") == 0
    other = save(tmp_path / "back/a.png", photograph(40, 48, 1)).read_bytes()
    older(tmp_path / "back/a.png")
    assert run("decode.json", bitstream_path="out", output_path="back", skip_existing="true") == 1
    run.says_once("a.p59", "another picture")
    assert (tmp_path / "back/a.png").read_bytes() == other, "it is whole, though it begins as a PNG file does"


def test_zeros_are_a_damaged_file(run, tmp_path):
    """What some file systems leave after power was cut."""
    save(tmp_path / "a.png", photograph(16, 16))
    for config, request, output in (
        ("encode_wavefront.json", {"test_data": "a.png", "bitstream_path": "out/"}, "out/a.p59"),
        ("decode.json", {"bitstream_path": "out", "output_path": "back/"}, "back/a.png"),
    ):
        assert run(config, **request) == 0
        whole = (tmp_path / output).read_bytes()
        (tmp_path / output).write_bytes(bytes(len(whole)))
        assert run(config, **request) == 1
        assert run(config, **request, skip_existing="true") == 0
        assert (tmp_path / output).read_bytes() == whole


def test_an_output_that_cannot_be_read_is_not_said_to_be_another(run, tmp_path, monkeypatch):
    save(tmp_path / "a.png", photograph(16, 16))
    assert run("encode_wavefront.json", test_data="a.png", bitstream_path="out/") == 0
    read = Path.read_bytes

    def refused(path):
        if path.name == "a.p59":
            raise PermissionError(13, "Permission denied", str(path))
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", refused)
    for how in ({}, {"skip_existing": "true"}):
        assert run("encode_wavefront.json", test_data="a.png", bitstream_path="out/", **how) == 1
        run.says_once("a.png: Permission denied ('out/a.p59')")
