"""The tree of a vessel: where it bends, branches and how it tapers, by Murray's law (PNAS 12, 207, 1926).

Compiled, since a picture has a thousand tubes and a training draws a hundred pictures a second.
"""

from __future__ import annotations

import math

import numba
import numpy as np

STEPS = 4  # straight pieces of a tube
THINNEST_MM = 0.4  # radius
DEEPEST = 64  # branchings on the way from the root; at 0.9 * 0.93 a branching a radius of 3 mm has ended long before


@numba.njit(cache=True, nogil=True)
def grow(start, mm_per_pixel, rng):  # type: ignore[no-untyped-def]
    """One vessel from a point and what branches off it, down to a radius of 0.4 mm; r0^3 = r1^3 + r2^3.

    Args:
        start: float64 (4,): x and y in pixels, the angle in which it grows, its radius in mm.
        mm_per_pixel: Side of a pixel.
        rng: numpy.random.Generator.

    Returns:
        float64 (N, 11): radius in mm, and x and y of five points in pixels, of each tube; a branch before the rest of
        the vessel that it leaves.
    """
    tubes = np.empty((64, 3 + 2 * STEPS))
    waiting = np.empty((DEEPEST, 4))  # vessels that go on once their branch has ended
    waiting[0] = start
    count, depth = 0, 1
    while depth > 0:
        depth -= 1
        x, y, angle, radius = waiting[depth]
        if radius <= THINNEST_MM:
            continue
        if count == len(tubes):
            longer = np.empty((2 * count, 3 + 2 * STEPS))
            longer[:count] = tubes
            tubes = longer
        tube = tubes[count]
        count += 1
        bends = rng.normal(0, 0.12, STEPS)
        share, turn, side = rng.random(3)
        length = radius * rng.uniform(6, 12) / mm_per_pixel
        tube[0], tube[1], tube[2] = radius, x, y
        for step in range(STEPS):
            angle += bends[step]
            x, y = x + length / STEPS * math.cos(angle), y + length / STEPS * math.sin(angle)
            tube[3 + 2 * step], tube[4 + 2 * step] = x, y
        share = 0.2 + 0.3 * share
        turn = (0.4 + 0.5 * turn) * (1 if side < 0.5 else -1)
        waiting[depth, 0], waiting[depth, 1] = x, y
        waiting[depth, 2], waiting[depth, 3] = angle - turn * share, radius * (1 - share) ** (1 / 3) * 0.9
        depth += 1
        if radius * share ** (1 / 3) > THINNEST_MM:
            waiting[depth, 0], waiting[depth, 1] = x, y
            waiting[depth, 2], waiting[depth, 3] = angle + turn, radius * share ** (1 / 3) * 0.9
            depth += 1
    return tubes[:count]
