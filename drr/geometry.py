"""The X-ray beam: a point source and a flat detector, in patient space (LPS, mm)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numba
import numpy as np
import torch

from drr.volume import Volume

if TYPE_CHECKING:
    from jaxtyping import Float, Float64

BODY_HU = -500  # denser than this is body, table or clothes: what the field of view must cover
GAP_MM = 40.0  # between the detector and the body, which may turn: half its longest side counts


@dataclass(frozen=True)
class View:
    """Where the source stands and how the picture lies.

    Attributes:
        to_source: Unit vector in LPS from the body to the source.
        right: Unit vector in LPS along a row of pixels on the viewer's screen.
        source_to_detector_mm: Distance.
        source_to_centre_mm: Distance of the body's centre, which then overrides source_to_detector_mm.
        field_mm: Width of the picture at the body's centre; None: it covers the body.
    """

    to_source: tuple[float, float, float]
    right: tuple[float, float, float]  # the direction of a row of pixels on the viewer's screen
    source_to_detector_mm: float = 1800.0
    source_to_centre_mm: float | None = None  # overrides source_to_detector_mm
    field_mm: float | None = None  # width of the picture at the body's centre; None covers the body


LEFT, RIGHT, BACK, FRONT = (1.0, 0.0, 0.0), (-1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, -1.0, 0.0)
DIAGONAL = 0.5**0.5  # an oblique turns the patient by 45 degrees
# A picture is hung as a radiologist reads it: head up; PA and AP as if the viewer faced the patient, so that the
# patient's left (and heart) is on the viewer's right; a lateral as seen from the detector's side.
VIEWS = {
    "PA": View(BACK, LEFT),
    "AP": View(FRONT, LEFT, source_to_detector_mm=1200.0),
    "LATERAL": View(RIGHT, BACK),
    "LL": View(RIGHT, BACK),
    "RL": View(LEFT, FRONT),
    "RAO": View((DIAGONAL, DIAGONAL, 0.0), (DIAGONAL, -DIAGONAL, 0.0)),
    "LAO": View((-DIAGONAL, DIAGONAL, 0.0), (DIAGONAL, DIAGONAL, 0.0)),
    "drr-rate": View(FRONT, LEFT, source_to_centre_mm=1000.0, field_mm=339.0),
    "drr-rate-lateral": View(RIGHT, BACK, source_to_centre_mm=1000.0, field_mm=339.0),
}


@dataclass(frozen=True, eq=False)
class ConeBeam:
    """A point source and a detector of H x W pixels; pixel (r, c) has its centre at origin + c * du + r * dv.

    Vectors are numpy arrays, or torch tensors to differentiate by pose (torch backend).

    Attributes:
        source: (3,) in mm, LPS.
        origin: (3,) in mm, LPS, centre of pixel (0, 0).
        du: (3,) in mm, from a pixel to the next in its row.
        dv: (3,) in mm, from a pixel to the next in its column.
        shape: (H, W).
        centre: (3,) in mm, the point that `orbit` turns about.

    Raises:
        ValueError: Vectors that are not three finite numbers, an empty or degenerate detector, a source in its plane.
    """

    source: Any
    origin: Any
    du: Any
    dv: Any
    shape: tuple[int, int]
    centre: Any = field(default_factory=lambda: np.zeros(3))

    def __post_init__(self) -> None:
        for name in ("source", "origin", "du", "dv", "centre"):
            value = getattr(self, name)
            if not isinstance(value, torch.Tensor):
                object.__setattr__(self, name, np.asarray(value, dtype=np.float64))
            if tuple(getattr(self, name).shape) != (3,) or not np.isfinite(self.numpy(name)).all():
                raise ValueError(f"ConeBeam: {name} is {value}; three finite numbers (x, y, z) in mm are needed")
        object.__setattr__(self, "shape", _checked_shape(self.shape))
        du, dv = self.numpy("du"), self.numpy("dv")
        normal = np.cross(du, dv)
        if np.linalg.norm(normal) < 1e-9 * np.linalg.norm(du) * np.linalg.norm(dv) or not normal.any():
            raise ValueError("ConeBeam: du and dv are parallel or zero; they must span the detector's plane")
        if abs(normal @ (self.numpy("origin") - self.numpy("source"))) < 1e-9 * np.linalg.norm(normal):
            raise ValueError("ConeBeam: the source lies in the detector's plane")

    def numpy(self, name: str) -> Float64[np.ndarray, 3]:
        """One of the vectors as a float64 array, without its gradient.

        Args:
            name: Such as "source".

        Returns:
            (3,).
        """
        value = getattr(self, name)
        return value.detach().cpu().double().numpy() if isinstance(value, torch.Tensor) else value

    @classmethod
    def preset(
        cls,
        name: str,
        volume: Volume,
        shape: tuple[int, int] = (512, 512),
        field_mm: float | None = None,
        box: tuple[np.ndarray, np.ndarray] | None = None,
        centre: np.ndarray | None = None,
    ) -> ConeBeam:
        """A conventional chest view that covers the body in `volume`.

        Args:
            name: PA (source behind the patient, 1.8 m), AP (source in front, 1.2 m), LATERAL and LL (both the left
                lateral: beam from right to left, left side against the detector, patient facing the viewer's left),
                RL (right lateral, its mirror image), RAO and LAO (right and left anterior oblique: PA with that front
                side turned to the detector by 45 degrees), drr-rate and drr-rate-lateral (DRR-RATE's 339 mm field).
            volume: The CT.
            shape: (H, W) of the detector.
            field_mm: Width of the picture at the body's centre; None: the body's box just fits.
            box: What `body_box(volume)` found, when many views are made of one volume.
            centre: x, y, z in mm of the picture's middle; None: that of the box.

        Returns:
            The beam.

        Raises:
            ValueError: An unknown name, a field that is not positive, or a volume in which nothing is denser than -500
                HU.
        """
        if name not in VIEWS:
            raise ValueError(f"no view is called {name!r}; give one of {', '.join(VIEWS)}")
        if field_mm is not None and not 0 < field_mm < np.inf:
            raise ValueError(f"field_mm is {field_mm}; the picture's width in mm is positive")
        view, shape = VIEWS[name], _checked_shape(shape)
        low, high = body_box(volume) if box is None else box
        centre, size = (low + high) / 2 if centre is None else centre, high - low
        to_source, right, down = np.array(view.to_source), np.array(view.right), np.array([0.0, 0.0, -1.0])
        behind = size.max() / 2 + GAP_MM
        sdd = view.source_to_detector_mm if view.source_to_centre_mm is None else view.source_to_centre_mm + behind
        magnification = sdd / (sdd - behind)
        width = view.field_mm if field_mm is None else field_mm
        pitch = width / shape[1] if width else max(abs(right) @ size / shape[1], size[2] / shape[0])
        du, dv = right * pitch * magnification, down * pitch * magnification
        corner = centre - to_source * behind - du * (shape[1] - 1) / 2 - dv * (shape[0] - 1) / 2
        return cls(centre + to_source * (sdd - behind), corner, du, dv, shape, centre)

    def moved(self, matrix: Any) -> ConeBeam:
        """The beam after a rigid motion.

        Args:
            matrix: (4, 4) LPS -> LPS, numpy or a torch tensor (then differentiable).

        Returns:
            A new beam.
        """
        parts = {name: getattr(self, name) for name in ("source", "origin", "du", "dv", "centre")}
        if isinstance(matrix, torch.Tensor):
            parts = {name: torch.as_tensor(value).to(matrix) for name, value in parts.items()}
        turn, shift = matrix[:3, :3], matrix[:3, 3]
        moved = {n: turn @ value if n in ("du", "dv") else turn @ value + shift for n, value in parts.items()}
        return replace(self, **moved)

    def orbit(self, degrees: float, axis: tuple[float, float, float] = (0.0, 0.0, 1.0)) -> ConeBeam:
        """The beam turned about `centre` by the right-hand rule.

        PA turned by +90 looks from the patient's right, like LL; axis (1, 0, 0) tips it to head or feet.

        Args:
            degrees: How far.
            axis: In LPS, of any length; by default from feet to head.

        Returns:
            A new beam.

        Raises:
            ValueError: An angle that is not finite, or an axis of no length.
        """
        from scipy.spatial.transform import Rotation

        length = np.linalg.norm(axis)
        if not 0 < length < np.inf or not np.isfinite(degrees):
            raise ValueError(f"orbit by {degrees} degrees around {axis}: a finite angle and a direction are needed")
        unit = np.asarray(axis, dtype=np.float64) / length
        matrix = np.eye(4)
        matrix[:3, :3] = Rotation.from_rotvec(np.radians(degrees) * unit).as_matrix()
        matrix[:3, 3] = self.numpy("centre") - matrix[:3, :3] @ self.numpy("centre")
        return self.moved(matrix)


def body_box(volume: Volume) -> tuple[Float[np.ndarray, 3], Float[np.ndarray, 3]]:
    """The box around what is denser than -500 HU, from every second voxel.

    Args:
        volume: The CT.

    Returns:
        Lowest and highest x, y, z in mm, (3,) each.

    Raises:
        ValueError: Nothing is that dense.
    """
    hu = volume.hu.detach().cpu().numpy() if isinstance(volume.hu, torch.Tensor) else volume.hu
    sample = hu[::2, ::2, ::2]
    found = _range_above(sample.astype(np.float32) if sample.dtype == np.float16 else sample, BODY_HU)
    if found[0, 1] < 0:
        raise ValueError(
            f"{volume.source or 'volume'}: nothing in it is denser than {BODY_HU} HU; is this a CT of a body?"
        )
    ranges = [(2 * found[a, 0] - 0.5, min(2 * found[a, 1] + 1.5, hu.shape[a] - 0.5)) for a in (2, 1, 0)]
    corners = np.array(np.meshgrid(*ranges)).reshape(3, -1)
    places = volume.affine[:3, :3] @ corners + volume.affine[:3, 3:]
    return places.min(axis=1), places.max(axis=1)


@numba.njit(cache=True, nogil=True)
def _range_above(hu: Any, limit: int) -> Any:
    """int64 (3, 2): first and last z, y, x of what is above `limit`; last is -1 where nothing is.

    Of a row only what may widen the ranges is looked at.
    """
    depth, height, width = hu.shape
    found = np.array([[depth, -1], [height, -1], [width, -1]])
    for z in range(depth):
        for y in range(height):
            row, hit = hu[z, y], False
            for x in range(found[2, 0]):
                if row[x] > limit:
                    found[2, 0], hit = x, True
                    break
            for x in range(width - 1, found[2, 1], -1):
                if row[x] > limit:
                    found[2, 1], hit = x, True
                    break
            if not hit and (z > found[0, 1] or y < found[1, 0] or y > found[1, 1]):
                for x in range(found[2, 0], found[2, 1] + 1):
                    if row[x] > limit:
                        hit = True
                        break
            if hit:
                found[0, 0], found[0, 1] = min(found[0, 0], z), z
                found[1, 0], found[1, 1] = min(found[1, 0], y), max(found[1, 1], y)
    return found


def _checked_shape(shape: Any) -> tuple[int, int]:
    """(rows, columns) as whole numbers; ValueError for anything else."""
    given = tuple(shape) if isinstance(shape, Iterable) else ()
    if len(given) != 2 or any(
        not isinstance(n, (int, float, np.integer, np.floating)) or not n >= 1 or n % 1 for n in given
    ):
        raise ValueError(f"ConeBeam: shape is {shape}; give (rows, columns) of the detector")
    return int(given[0]), int(given[1])
