"""Dots as characters: two by four of them in a cell, as the map of features has them."""

BRAILLE = (0x01, 0x08, 0x02, 0x10, 0x04, 0x20, 0x40, 0x80)
"""What each of a cell's dots, row by row, adds to U+2800."""
QUARTERS = " ▘▝▀▖▌▞▛▗▚▐▜▄▙▟█"
"""By the quarters that hold a dot: 1 top left, 2 top right, 4 and 8 below."""
MASKS = (0b0000_0101, 0b0000_1010, 0b0101_0000, 0b1010_0000)


def braille(dots: int) -> str:
    """A cell's dots, bit `2 * y + x` of each, as a character of braille."""
    return chr(0x2800 + sum(weight for bit, weight in enumerate(BRAILLE) if dots >> bit & 1))


def quarters(dots: int) -> str:
    """The same as quarters of a block."""
    return QUARTERS[sum(1 << i for i, mask in enumerate(MASKS) if dots & mask)]
