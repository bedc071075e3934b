"""Text from elsewhere, such as names of files, as a terminal can show it."""

from __future__ import annotations

import unicodedata

#: What turns the direction of the text that follows, as unicodedata.bidirectional has it; ends of lines and paragraphs.
TURNING, ENDING = ("RLE", "LRE", "RLO", "LRO", "PDF", "LRI", "RLI", "FSI", "PDI"), ("Zl", "Zp")


def printable(text: str) -> str:
    """The text with control characters, but for ends of lines, marks that turn its direction, and bytes that are not
    UTF-8 written out."""
    shown = "".join(character if character.isprintable() else _written_out(character) for character in text)
    return shown.encode("utf-8", "backslashreplace").decode()


def in_one_line(text: str) -> str:
    """`printable`, with ends of lines written out too."""
    return printable(text).replace("\n", r"\n")


def _written_out(character: str) -> str:
    """A character that Python thinks not printable; most of these are harmless, such as spaces and joiners."""
    turns = unicodedata.bidirectional(character) in TURNING or unicodedata.category(character) in ENDING
    if character == "\n" or (ord(character) > 0x9F and not turns):
        return character
    return character.encode("unicode_escape").decode()
