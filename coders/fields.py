"""Fields of bytes: how what a .p59 file holds is written and read."""

from __future__ import annotations

from utils.errors import FormatError


class Reader:
    """Takes fields off bytes that may be anything. Raises FormatError past their end."""

    def __init__(self, data: bytes, position: int = 0) -> None:
        self._data, self._position = data, position

    @property
    def left(self) -> int:
        return len(self._data) - self._position

    def take(self, length: int) -> bytes:
        if length > self.left:
            raise FormatError(f"truncated: {length} bytes are expected where {self.left} are left; get the whole file")
        self._position += length
        return self._data[self._position - length : self._position]

    def byte(self) -> int:
        return self.take(1)[0]

    def number(self) -> int:
        value, shift = 0, 0
        while True:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
            if shift == 63:
                raise FormatError("a number of more than 63 bits; get the file again")
        if byte == 0 and shift > 7:
            raise FormatError("a number with a needless byte; get the file again")
        return value

    def rest(self) -> bytes:
        return self.take(self.left)


def number(value: int) -> bytes:
    """A non-negative integer as LEB128."""
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*parts, value))
