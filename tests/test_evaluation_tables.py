"""Rows of an evaluation and the tables made of them, those of the README among them."""

from __future__ import annotations

from dataclasses import replace
from hashlib import blake2b
from pathlib import Path

import pytest

from main import main
from models.model_file import read_model
from models.store import SHIPPED, SHIPPED_FILES
from tests.evaluation_cases import folder, row_of
from tests.helpers import ROOT
from utils.errors import InputError, P59Error
from utils.evaluation.codecs import OURS
from utils.evaluation.jobs import Job, run_job
from utils.evaluation.plan import names_of, unmeasured
from utils.evaluation.plots import rate_points
from utils.evaluation.readme import fill_tables
from utils.evaluation.rows import RowFile, current, read_rows
from utils.evaluation.tables import Table, shown_rows, tables_of
from utils.tasks.tables import TablesTask, filled

__all__ = ["folder"]  # a fixture
README = ROOT / "README.md"


def test_rows_come_back_as_written(tmp_path):
    rows = [row_of(), row_of(image="b\tc.png", error="broke\non two lines", bpsp=3.25, threads=2)]
    with RowFile(tmp_path / "r.tsv") as file:
        for row in rows:
            file.append(row)
        file.append(replace(rows[0], bytes=9))  # measured again: the later one counts
    assert read_rows([tmp_path / "r.tsv"]) == [rows[1], replace(rows[0], bytes=9)]
    (tmp_path / "other.tsv").write_text("image\tbytes\n")
    with pytest.raises(InputError, match="not a table of results"):
        read_rows([tmp_path / "other.tsv"])
    with (tmp_path / "r.tsv").open("a") as file:
        file.write("half a row\n")
    with pytest.raises(InputError, match="line 5 is damaged"):
        read_rows([tmp_path / "r.tsv"])


def test_rows_are_kept_where_the_next_one_has_no_room(tmp_path):
    resource = pytest.importorskip("resource", reason="limits the size of files")
    path = tmp_path / "r.tsv"
    with RowFile(path) as file:
        file.append(row_of())
        room = path.stat().st_size + 9
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
        try:
            with pytest.raises(P59Error, match=r"r\.tsv.*are kept.*start again") as caught:
                file.append(row_of(image="b.png"))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "\n" not in str(caught.value)
    assert path.stat().st_size == room, "a part of the row was written"
    with RowFile(path) as file:
        file.append(row_of(image="c.png"))
    assert [row.image for row in read_rows([path])] == ["a.png", "c.png"]


def test_failures_are_reported_until_they_are_repaired():
    """Before its model is known a row of ours has another key than the one that is measured in the end."""
    ours = {"codec": OURS, "order": "wavefront", "channels": 3}
    early, of_a, good = row_of(**ours, error="e"), row_of(**ours, model="a", error="e"), row_of(**ours, model="b")
    other = row_of(**ours, image="b.png", error="e")
    assert current([early, of_a, other, good]) == [of_a, other, good]
    assert current([good, early]) == [good, early]
    assert [row.error for row in shown_rows([early, other, good], None)] == ["e", ""]


def test_rows_of_another_image_of_the_name_are_not_shown():
    old, new = row_of(pixels="0"), row_of(pixels="1", codec="WebP")
    assert current([old, new]) == [new]
    assert current([new, old]) == [old]
    assert current([old, row_of(pixels="1", image="b.png"), row_of(pixels="1", data_set="gb82")])[0] == old


def test_the_newest_of_two_timings_is_shown():
    timed = {"data_set": "timing 8x8", "height": 8, "width": 8, "decode_seconds": 1.0}
    rows = [row_of(**timed, image=image, encode_seconds=seconds) for image, seconds in (("a.png", 2.0), ("b.png", 4.0))]
    assert tables_of(rows)[1].rows[0][3] == "4.00 / 1.00"


def test_tables_say_what_the_rows_hold():
    ours = {"codec": OURS, "order": "wavefront", "parameters": 58916, "macs": 58368, "channels": 3}
    rows = [
        row_of(bpsp=4.0),
        row_of(image="b.png", bpsp=5.0),
        row_of(codec="WebP", bpsp=3.0),
        row_of(codec="WebP", image="b.png", error="broke"),
        row_of(**ours, model="old", bpsp=2.9, channel_bits="4,2,1", height=2),
        row_of(**ours, model="new", bpsp=2.5, channel_bits="3,2,1", height=2),
        row_of(**ours, model="new", image="b.png", bpsp=2.7, channel_bits="5,2,1", height=2),
        row_of(data_set="timing 1000x2000", height=1000, width=2000, encode_seconds=4.0, decode_seconds=0.125),
        row_of(codec="WebP", data_set="timing 1000x2000", height=1000, width=2000, error="broke"),
    ]
    rate, time_, complexity = tables_of(rows)
    assert rate.headers == ("codec", "kodak (2)", "kodak, by channel")
    assert rate.rows == (
        ("PNG", "4.500", "-"),
        ("WebP", "3.000 (1 of 2)", "-"),
        ("P59 wavefront", "2.600", "2.00 / 1.00 / 0.50"),
    )
    assert time_.rows == (("PNG", "cpu", "1", "4.00 / 0.125", "0.500 / 16.0"),)
    assert complexity.rows[0][:4] == ("P59 wavefront", "58,916", "58,368", "2.600")
    assert list(rate_points(rows, "kodak")) == ["PNG", "P59 wavefront (new)"]
    assert rate_points([row for row in rows if row.model != "old"], "kodak")["P59 wavefront"][1] == pytest.approx(2.6)
    assert any("arXiv" in line[-1] for line in complexity.rows)
    both = tables_of(rows, {"old", "new"})[0]
    assert [line[0] for line in both.rows][2:] == ["P59 wavefront (old)", "P59 wavefront (new)"]


def test_gray_and_colour_networks_are_not_mixed_up():
    """Each line has its own count and rate."""
    ours = {"codec": OURS, "order": "wavefront"}
    colour = row_of(**ours, model="a" * 16 + "x13", channels=3, parameters=58_916, macs=58_368, bpsp=2.5)
    gray = row_of(**ours, model="b" * 16 + "x8", channels=1, parameters=52_361, macs=51_840, bpsp=3.0, image="g.png")
    lines = tables_of([colour, replace(gray, data_set="gray"), row_of()])[2].rows
    assert lines[0][:4] == ("P59 wavefront", "13 x 58,916", "58,368", "2.500")
    assert lines[1][:4] == ("P59 wavefront, gray", "8 x 52,361", "51,840", "-")
    assert "n x:" in tables_of([colour])[2].note
    assert "n x:" not in tables_of([replace(colour, model="a" * 16)])[2].note


def test_times_of_several_machines_are_told_apart():
    timed = {"data_set": "timing 8x8", "height": 8, "width": 8, "decode_seconds": 1.0}
    one = row_of(**timed, machine="A, 2 cores", encode_seconds=2.0)
    other = row_of(**timed, machine="B, 4 cores", encode_seconds=4.0)
    assert one.key != other.key
    assert row_of(machine="A").key == row_of(machine="B").key, "rates are the same everywhere"
    failed = replace(one, error="broke")
    assert current([failed, other]) == [failed, other], "another machine repairs nothing"
    table = tables_of([one, other, replace(other, threads=4, encode_seconds=3.0)])[1]
    assert [line[1:4] for line in table.rows] == [
        ("cpu (1)", "1", "2.00 / 1.00"),
        ("cpu (2)", "1", "4.00 / 1.00"),
        ("cpu (2)", "4", "3.00 / 1.00"),
    ]
    assert table.note.endswith("cpu (1): A, 2 cores, cpu (2): B, 4 cores.")


def test_times_are_measured_on_each_machine(folder):
    job = Job(folder / "0.png", "timing 24x20", "0.png", "PNG", size=(24, 20), machine="here")
    row = run_job(job)
    assert row.error == ""
    assert unmeasured([job], [row]) == []
    assert unmeasured([replace(job, machine="elsewhere")], [row]) == [replace(job, machine="elsewhere")]
    rate = replace(job, data_set="set", size=None)
    assert unmeasured([replace(rate, machine="elsewhere")], [run_job(rate)]) == []


def test_a_choice_of_models_is_not_taken_for_its_first_one(folder, tmp_path):
    """Evaluated once, with its name in the rows; a model that is listed twice is one; tables keep the choices apart."""
    models = [str(SHIPPED / name) for name in ("rgb.safetensors", "rgb_diagonal.safetensors")]
    first, second = (read_model(Path(name)).name for name in models)
    for chosen in ([models[0]], models, [models[0], models[0]]):
        files = {3: tuple(map(Path, chosen))}
        job = Job(folder / "0.png", "kodak", "a.png", OURS, "wavefront", files)
        row = run_job(job)
        assert row.error == ""
        both = blake2b(f"{first}{second}".encode(), digest_size=8).hexdigest()
        assert row.model == (first if len(set(chosen)) == 1 else f"{both}x2")
        assert unmeasured([job], [row]) == []
    ours = {"codec": OURS, "order": "wavefront", "channels": 3, "parameters": 58_916}
    rows = [row_of(**ours, model=first, bpsp=2.0), row_of(**ours, model=f"{both}x2", bpsp=1.0)]
    rate, _, complexity = (table.markdown() for table in tables_of(rows, {row.model for row in rows}))
    for label, figure in ((f"({first[:8]})", "2.000"), (f"({both[:8]}x2)", "1.000")):
        assert [figure in line for line in rate.splitlines() if label in line] == [True]
    assert complexity.count("2 x 58,916") == 1


def test_tables_show_the_models_that_are_named(tmp_path, capsys):
    """Files, or the shipped ones; without names the last measured."""
    own = SHIPPED / "rgb_06.safetensors"
    shipped = names_of(tuple(SHIPPED / name for name in SHIPPED_FILES["wavefront", 3]))
    ours = {"codec": OURS, "order": "wavefront", "channels": 3, "parameters": 58_916}
    rows = [row_of(**ours, model=read_model(own).name, bpsp=2.0), row_of(**ours, model=shipped, bpsp=1.0)]
    with RowFile(tmp_path / "r.tsv") as file:
        for row in rows:
            file.append(row)
    document = tmp_path / "d.md"
    document.write_text("<!-- table:rate -->\n<!-- end -->\n")
    alone, one, other = (str(own),), ["2.000"], ["1.000"]
    for models, rates in ((None, other), (((),), other), ((alone,), one), ((alone, ()), one + other)):
        text = filled(TablesTask(tmp_path / "r.tsv", document, models))
        lines = [line for line in text.splitlines() if "| P59" in line]
        assert [rate for line in lines for rate in one + other if rate in line] == rates
    paths = (f"results_path={tmp_path / 'r.tsv'}", f"output_path={document}", f"models={own}")
    assert main([str(ROOT / "configs/tables.json"), *paths]) == 0
    assert "2.000" in document.read_text()
    assert "of which the results hold nothing" not in capsys.readouterr().out
    unmeasured = SHIPPED / "rgb_07.safetensors"
    assert main([str(ROOT / "configs/tables.json"), *paths[:2], f"models={unmeasured}"]) == 0
    assert f"models names {unmeasured}, of which the results hold nothing" in capsys.readouterr().out


def test_marked_tables_are_filled():
    table = Table("rate", "Rate", ("codec", "x"), (("PNG", "1.000"),), {0}, "A note.")
    text = "before\n<!-- table:rate -->\nold\n<!-- end -->\nafter <!-- table:rate -->\n"
    new = fill_tables(text, [table])
    assert "old" not in new
    assert "| PNG" in new
    assert new.startswith("before\n")
    assert fill_tables(new, [table]) == new
    with pytest.raises(InputError, match="names no table"):
        fill_tables("<!-- table:speed -->\n<!-- end -->", [table])


def test_tables_are_not_emptied_and_not_left_out_without_a_word(tmp_path):
    document, results = tmp_path / "a.md", tmp_path / "results"
    results.mkdir()
    document.write_text("<!-- table:rate -->\n<!-- end -->\n")
    with pytest.raises(InputError, match=r"results' holds no \.tsv"):
        filled(TablesTask(results, document))
    with RowFile(results / "r.tsv") as file:
        file.append(row_of())
    assert "| PNG" in filled(TablesTask(results, document))
    for content, reason in ((b"# Title\n", "no marked table"), (b"\xff", "cannot be read")):
        document.write_bytes(content)
        with pytest.raises(InputError, match=rf"a\.md' .*{reason}"):
            filled(TablesTask(results, document))


def test_the_tables_of_the_readme_are_those_of_the_committed_results():
    """`make tables` writes them."""
    assert filled(TablesTask(ROOT / "results", README)) == README.read_text(encoding="utf-8")
