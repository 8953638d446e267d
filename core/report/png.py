"""Small pictures as PNG, written out into a page: no other file and no library is needed."""

import base64
import struct
import zlib
from collections.abc import Iterable, Sequence

from core.analysis.gallery import Grid

UP, DOWN = (255, 170, 60), (70, 130, 255)
"""Red, green and blue of the largest number above 0, and below."""
Pixel = tuple[int, int, int]


def grey(grid: Grid) -> str:
    """Numbers from 0 (black) to 1 (white), as the address of a picture."""
    levels = [[round(255 * v) for v in row] for row in grid]
    return _address([[(v, v, v) for v in row] for row in levels])


def signed(grid: Grid) -> str:
    """Numbers on a scale from their largest absolute value below 0 (blue) over 0 (black) to that above (orange)."""
    most = max((abs(v) for row in grid for v in row), default=0.0) or 1.0

    def colour(v: float) -> Pixel:
        red, green, blue = UP if v > 0 else DOWN
        share = abs(v) / most
        return round(red * share), round(green * share), round(blue * share)

    return _address([[colour(v) for v in row] for row in grid])


def _address(rows: Sequence[Sequence[Pixel]]) -> str:
    lines = b"".join(b"\0" + bytes(part for pixel in row for part in pixel) for row in rows)  # 0: no filter
    head = struct.pack(">IIBBBBB", len(rows[0]), len(rows), 8, 2, 0, 0, 0)  # eight bits of each of three colours
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(lines, 9)), (b"IEND", b""))
    return "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n" + _joined(chunks)).decode()


def _joined(chunks: Iterable[tuple[bytes, bytes]]) -> bytes:
    return b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )  # fmt: skip
