"""How outputs are written: whole or not at all, and what a disk or a directory that cannot be written means."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest

import utils.files
from datasets.pictures import read_picture
from tests.command_line_cases import files_in, load, photograph, run, save
from utils.files import TakenError, UnwritableError, write_new, write_whole
from utils.tasks import encode

__all__ = ["run"]  # a fixture


def test_nothing_half_written_is_left(run, tmp_path, monkeypatch):
    """Where a disk is full in the middle of a file, or the run is interrupted there."""
    save(tmp_path / "a.png", photograph(16, 16))
    for error, status in ((OSError(errno.ENOSPC, "No space left on device"), 1), (KeyboardInterrupt(), 130)):

        def fail(*_, error=error):
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", fail)
            assert run("encode_wavefront.json", test_data="a.png", bitstream_path="out") == status
        assert files_in(tmp_path) == ["a.png"]


@pytest.mark.skipif(not hasattr(os, "O_TMPFILE"), reason="the system has no files without names")
def test_a_file_has_no_name_before_it_is_whole(run, tmp_path, monkeypatch):
    """So that a process that is killed while it writes leaves nothing."""
    try:
        os.close(os.open(tmp_path, os.O_TMPFILE | os.O_WRONLY))
    except OSError:
        pytest.skip("the file system has no files without names")
    save(tmp_path / "a.png", photograph(16, 16))
    seen, flush = [], os.fsync
    monkeypatch.setattr(os, "fsync", lambda handle: seen.append(files_in(tmp_path / "out")) or flush(handle))
    assert run("encode_wavefront.json", test_data="a.png", bitstream_path="out") == 0
    assert run("encode_wavefront.json", test_data="a.png", bitstream_path="out", overwrite="true") == 0
    assert seen == [[], ["a.p59"]]


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such modes")
@pytest.mark.parametrize("nameless", [True, False])
def test_files_have_the_mode_that_others_have(tmp_path, monkeypatch, nameless):
    """Asked for once, when the first file is written."""
    if not nameless:
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    utils.files._umask.cache_clear()
    before = os.umask(0o027)
    try:
        (tmp_path / "other").touch()
        for write in (write_new, write_whole):
            write(tmp_path / "mine", b"data")
            assert (tmp_path / "mine").stat().st_mode == (tmp_path / "other").stat().st_mode
    finally:
        os.umask(before)
        utils.files._umask.cache_clear()


@pytest.mark.parametrize("filled", [False, True])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt()], ids=repr)
def test_a_place_that_was_taken_is_given_up_again(tmp_path, monkeypatch, error, filled):
    """Without hard links, where the file cannot be put there; not where another process has filled it meanwhile."""

    def refused(*_, **__):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    def fails(*_):
        place = tmp_path / "mine"
        seen.append(place.read_bytes() if place.exists() else None)
        if filled:
            place.write_bytes(b"theirs")
        raise error

    seen = []
    monkeypatch.setattr(os, "link", refused)
    monkeypatch.setattr(os, "replace", fails)
    with pytest.raises((UnwritableError, KeyboardInterrupt)):
        write_new(tmp_path / "mine", b"data")
    assert seen == [b""]
    assert files_in(tmp_path) == (["mine"] if filled else [])


@pytest.mark.parametrize("links", [True, False], ids=["links", "no links"])
@pytest.mark.parametrize("nameless", [True, False], ids=["nameless", "named"])
def test_a_file_that_another_process_makes_meanwhile_stays(tmp_path, monkeypatch, nameless, links):
    """After it was seen that there is none, whatever the file system can do."""

    def meanwhile(handle):
        (tmp_path / "mine").write_bytes(b"theirs")
        flush(handle)

    def refused(*_, **__):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    flush = os.fsync
    monkeypatch.setattr(os, "fsync", meanwhile)
    if not nameless:
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    if not links:
        monkeypatch.setattr(os, "link", refused)
    with pytest.raises(TakenError):
        write_new(tmp_path / "mine", b"data")
    assert files_in(tmp_path) == ["mine"]
    assert (tmp_path / "mine").read_bytes() == b"theirs"


@pytest.mark.parametrize("missing", ["O_TMPFILE", "link"])
def test_file_systems_that_can_do_less(run, tmp_path, monkeypatch, missing):
    def refused(*_, **__):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    if missing == "link":
        monkeypatch.setattr(os, "link", refused)
    else:
        monkeypatch.delattr(os, missing, raising=False)
    save(tmp_path / "a.png", photograph(16, 16))
    save(tmp_path / "other/a.png", photograph(16, 16, 1))
    assert run("encode_wavefront.json", test_data="a.png", bitstream_path="out") == 0
    assert files_in(tmp_path / "out") == ["a.p59"]
    data = (tmp_path / "out/a.p59").read_bytes()
    assert run("encode_wavefront.json", test_data="other", bitstream_path="out") == 1
    assert (tmp_path / "out/a.p59").read_bytes() == data
    with pytest.raises(TakenError):
        write_new(tmp_path / "out/a.p59", b"other")
    assert files_in(tmp_path / "out") == ["a.p59"]
    assert (tmp_path / "out/a.p59").read_bytes() == data
    assert run("decode.json", bitstream_path="out", output_path="back") == 0
    np.testing.assert_array_equal(load(tmp_path / "back/a.png"), photograph(16, 16))


@pytest.mark.parametrize(
    ("number", "remedy"), [(errno.ENOSPC, "free space or choose"), (errno.EROFS, "allow that or choose")]
)
def test_a_disk_that_cannot_be_written_ends_the_run(run, tmp_path, monkeypatch, number, remedy):
    for name in range(4):
        save(tmp_path / f"photos/{name}.png", photograph(16, 16))
    written, flush = [], os.fsync

    def refused(handle):
        written.append(handle)
        if len(written) > 1:
            raise OSError(number, os.strerror(number))
        flush(handle)

    monkeypatch.setattr(os, "fsync", refused)
    assert run("encode_wavefront.json", test_data="photos", bitstream_path="out", images_at_once=1) == 1
    run.says_once("photos/1.png: ", os.strerror(number), remedy, "the run ends here, 2 files were not tried")
    assert files_in(tmp_path / "out") == ["0.p59"]
    assert len(written) == 2


@pytest.mark.parametrize(
    ("place", "made", "tried"),
    [
        ("", [], ["a.png"]),  # nothing may be made where the output directory would be
        ("out", ["out"], ["a.png"]),
        ("out", ["out", "out/deep"], ["a.png", "b.png", "deep/c.png"]),
        ("out/deep", ["out"], ["a.png", "b.png", "deep/c.png"]),
    ],
)
def test_a_directory_that_may_not_be_written_ends_the_run_where_all_outputs_need_it(
    run, tmp_path, monkeypatch, place, made, tried
):
    for name in ("a.png", "b.png", "deep/c.png"):
        save(tmp_path / "photos" / name, photograph(16, 16))
    for folder in made:
        (tmp_path / folder).mkdir()
    read, mkdir, open_ = [], Path.mkdir, os.open

    def refuse(path):
        if path.absolute().parent == tmp_path / place:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    def opened(path, flags, *mode, **where):
        if flags & os.O_WRONLY:
            refuse(path / "nameless" if os.path.isdir(path) else path)
        return open_(path, flags, *mode, **where)

    monkeypatch.setattr(encode, "read_picture", lambda path, limit: read.append(path) or read_picture(path, limit))
    monkeypatch.setattr(Path, "mkdir", lambda path, **how: refuse(path) or mkdir(path, **how))
    monkeypatch.setattr(os, "open", opened)
    assert run("encode_wavefront.json", test_data="photos", bitstream_path="out", images_at_once=1) == 1
    assert [str(path.relative_to("photos")) for path in read] == tried
    assert ("the run ends here" in run.err) == (tried == ["a.png"])
    assert "(Permission denied); allow that or choose another path" in run.err
    assert "space" not in run.err
