"""Text from elsewhere, such as names of files, as a terminal can show it."""

from __future__ import annotations


def printable(text: str) -> str:
    """The text with control characters, but for ends of lines, and bytes that are not UTF-8 written out."""
    shown = "".join(character if character.isprintable() else _written_out(character) for character in text)
    return shown.encode("utf-8", "backslashreplace").decode()


def in_one_line(text: str) -> str:
    """`printable`, with ends of lines written out too."""
    return printable(text).replace("\n", r"\n")


def _written_out(character: str) -> str:
    harmless = character == "\n" or ord(character) > 0x9F  # such as the spaces and joiners of many scripts
    return character if harmless else character.encode("unicode_escape").decode()
