"""Names from elsewhere, as they are shown."""

from __future__ import annotations

import pytest

from utils.printable import in_one_line, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("photo.png", "photo.png"),
        ("写真 ü\u00a0\u3000\u200d👩\u200d🚀.png", "写真 ü\u00a0\u3000\u200d👩\u200d🚀.png"),
        ("\x1b[31mred\x07", r"\x1b[31mred\x07"),
        ("tab\treturn\r", r"tab\treturn\r"),
        ("\x9b31m\x7f", r"\x9b31m\x7f"),
        ("\udcff", r"\udcff"),
        ("a\u202egnp.exe\u2066", r"a\u202egnp.exe\u2066"),
        ("a\u2028b\u2029c", r"a\u2028b\u2029c"),
        ("", ""),
    ],
)
def test_what_no_terminal_should_get_is_written_out(text, shown):
    assert printable(text) == in_one_line(text) == shown


def test_ends_of_lines():
    assert printable("a\nb") == "a\nb"
    assert in_one_line("a\nb") == r"a\nb"
