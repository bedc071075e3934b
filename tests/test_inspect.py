"""run_mode inspect: what files hold, without decoding them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from coders.container import Container
from tests.command_line_cases import files_in, other_model, photograph, run, save
from utils.tasks import inspect

__all__ = ["other_model", "run"]  # fixtures


@pytest.fixture
def files(run, tmp_path):
    save(tmp_path / "photos/colour.png", photograph(64, 72))
    Image.fromarray(photograph(64, 72)).save(tmp_path / "photos/profile.png", icc_profile=b"profile" * 50)
    save(tmp_path / "photos/deep/flat.png", np.zeros((5, 7, 1), np.uint8))
    Image.fromarray(np.arange(48 * 40, dtype=np.uint16).reshape(40, 48)).save(tmp_path / "photos/deep/wide.png")
    assert run("encode_wavefront.json", test_data="photos", bitstream_path="out") == 0
    return tmp_path / "out"


def cells(output: str, name: str) -> list[str]:
    (line,) = (line for line in output.splitlines() if line.startswith(name))
    return [cell.strip() for cell in line.replace(",", "").split("  ") if cell.strip()]


def test_what_files_hold(run, files):
    before = files_in(files)
    assert run("inspect.json", bitstream_path="out") == 0
    assert (run.err, files_in(files)) == ("", before)
    for name, mode, size in (
        ("out/colour.p59", "RGB", "72 x 64"),
        ("out/profile.p59", "RGB", "72 x 64"),
        ("out/deep/flat.p59", "L", "7 x 5"),
        ("out/deep/wide.p59", "I;16", "48 x 40"),
    ):
        row = cells(run.out, name)
        data = (files.parent / name).read_bytes()
        container = Container.from_bytes(data)
        assert row[1:3] == [mode, size]
        assert int(row[3]) == len(data)
        samples = container.height * container.width * container.mode.channels
        assert float(row[4]) == pytest.approx(8 * len(data) / samples, abs=1e-4)
        assert int(row[5]) == sum(map(len, container.planes))
        assert (int(row[6]), int(row[7])) == (0, sum(4 + len(content) for _, content in container.metadata))
    assert cells(run.out, "out/deep/flat.p59")[8:] == ["plain"]
    order, model = cells(run.out, "out/colour.p59")[8:]
    assert (order, model.startswith("rgb")) == ("wavefront", True)
    assert run.out.endswith(f"4 of 4 files are whole and their models at hand, {total(files):,} bytes\n")
    assert f"2 coded with {model}" in run.out


def total(directory) -> int:
    return sum((directory / name).stat().st_size for name in files_in(directory))


def test_one_file_whose_model_was_adapted(run, tmp_path):
    save(tmp_path / "a.png", photograph(300, 300))
    assert run("encode_wavefront.json", test_data="a.png", bitstream_path="a.p59", adapt_steps=100) == 0
    assert "adapted" in run.out
    assert run("inspect.json", bitstream_path="a.p59") == 0
    row = cells(run.out, "a.p59")
    assert row[8] == "wavefront adapted"
    assert 0 < int(row[6]) < int(row[5])
    rest = len(b"P59.") + 1 + 1 + 2 + 2 + 8 + 1 + 3 + 4  # see coders.container
    assert int(row[3]) - sum(map(int, row[5:8])) == rest


def test_files_that_cannot_be_decoded_here(run, files, other_model):
    data = (files / "colour.p59").read_bytes()
    (files / "cut.p59").write_bytes(data[:-1])
    (files / "empty.p59").write_bytes(b"")
    save(files.parent / "b.png", photograph(64, 72, seed=3))
    assert run("encode_wavefront.json", test_data="b.png", bitstream_path="out/b.p59", checkpoint_file=other_model) == 0
    assert run("inspect.json", bitstream_path="out") == 1
    failures = run.err.splitlines()
    assert [line.split(": ")[1] for line in failures] == ["out/b.p59", "out/cut.p59", "out/empty.p59"]
    assert "at hand: the shipped weights only" in failures[0]
    assert "4 of 7 files are whole and their models at hand" in run.out
    assert run("inspect.json", bitstream_path="out/b.p59", checkpoint_file=other_model) == 0
    assert "1 of 1 files" in run.out


@pytest.mark.parametrize("first", [0x0F, 0x07, 0x90, 0x8A], ids=hex)
def test_forms_and_codings_of_newer_releases_are_failures(run, files, first):
    """Checksums are right."""
    container = Container.from_bytes((files / "colour.p59").read_bytes())
    ((kind, planes),) = container.chunks
    (files / "colour.p59").write_bytes(replace(container, chunks=((kind, bytes((first,)) + planes[1:]),)).to_bytes())
    assert run("inspect.json", bitstream_path="out/colour.p59") == 1
    run.says_once("failed: out/colour.p59: planes of unknown form or coding", "use a newer release")
    assert "0 of 1 files are whole" in run.out


def test_of_many_files_the_totals(run, files, monkeypatch):
    monkeypatch.setattr(inspect, "MOST_ROWS", 3)
    assert run("inspect.json", bitstream_path="out") == 0
    assert "out/colour.p59" not in run.out
    assert "4 of 4 files" in run.out


def test_an_interrupt_shows_what_was_found(run, files, monkeypatch):
    seen, read = [], inspect.read_stream

    def interrupted(path):
        seen.append(path)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return read(path)

    monkeypatch.setattr(inspect, "read_stream", interrupted)
    assert run("inspect.json", bitstream_path="out") == 130
    assert "2 of 4 files are whole" in run.out
    assert str(seen[0]) in run.out


def test_requests_that_make_no_sense(run, files):
    assert run("inspect.json", bitstream_path="nowhere") == 2
    run.says_once("error: ", "nowhere", "does not exist")
    assert run("inspect.json", bitstream_path="out", test_data="photos", turn="true") == 0
    assert "run_mode inspect ignores test_data, turn: it has no use for them" in run.out
