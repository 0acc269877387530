"""How many of its bits an image uses: detectors give 10, 12 or 14, and files keep them in 16."""

from __future__ import annotations

FEWEST_BITS = 8


def depth_in_use(highest: int, bits: int) -> int:
    """How many bits an image seems to use: the smallest of 8, 10, 12, 14, ... that holds its levels.

    Even depths, as detectors have them: 1500 is a dim image of 12 bits sooner than a bright one of 11. One bit of
    difference is not taken for another depth (an image that just stays below half of its range is a dim one).

    Args:
        highest: Largest level in the image, 0 or more; 0 (a black image) tells nothing.
        bits: Of the file's levels.

    Returns:
        The depth; `bits` if nothing smaller holds the levels.

    Example:
        >>> depth_in_use(4000, 16)
        12
    """
    if highest <= 0:
        return bits
    return next((depth for depth in range(FEWEST_BITS, bits - 1, 2) if highest < 2**depth), bits)


def depth_warning(used: int, bits: int) -> str:
    """The sentence for the manifest: what was done about unused bits.

    Args:
        used: Bits in use.
        bits: Of the file's levels.

    Returns:
        One sentence.
    """
    return f"the grey levels use {used} of {bits} bits: {2**used - 1} was taken for white"
