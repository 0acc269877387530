"""A CT that is looked at from any side: its pose and display to line integrals and to the picture shown."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from drr import ConeBeam, Finding, Look, Volume, detector_response, project
from drr.anatomy.tissue import prepare
from drr.appearance.look import FIELD_MM, develop, shown_bone
from drr.findings.heart import add_cardiomegaly
from drr.findings.lung import add_consolidation, add_nodule
from drr.findings.pleura import add_pleural_effusion, add_pneumothorax
from drr.geometry import VIEWS, body_box

if TYPE_CHECKING:
    from drr.findings.report import Truth

SIZES = (128, 256, 384, 512, 768, 1024)
BONE = (-1.0, 2.0)
LOOKS = 8  # of many vendors, drawn at random but always the same; 0 is film
SEED = 7  # of where findings lie
Add = Callable[[Volume], tuple[Volume, Finding]]
FINDINGS: dict[str, Add] = {  # in the order in which they are put in: what moves labels first
    "cardiomegaly": add_cardiomegaly,
    "pneumothorax": partial(add_pneumothorax, side="right"),
    "pleural effusion": partial(add_pleural_effusion, side="left"),
    "consolidation": lambda volume: add_consolidation(volume, "left lower lobe", np.random.default_rng(SEED)),
    "nodule": lambda volume: add_nodule(volume, "right upper lobe", np.random.default_rng(SEED), 22.0),
}
VARIANTS = 6  # volumes with findings that are held for each CT


@dataclass(frozen=True)
class Shot:
    """How a CT is looked at.

    Attributes:
        view: A preset of `drr.ConeBeam`.
        yaw, tilt: Degrees by which it is turned about the body's long axis, and then tipped to head or feet.
        size: Pixels of a side.
        bone: What the bones are multiplied by: 1 as they are, 0 none, -1 their negative.
        centre, width: Of `drr.detector_response`, for look 0.
        look: 0 for film; 1 to LOOKS for a digital system's.
        findings: Names of FINDINGS that are put in.
    """

    view: str = "PA"
    yaw: float = 0.0
    tilt: float = 0.0
    size: int = 512
    bone: float = 1.0
    centre: float = 4.0
    width: float = 1.4
    look: int = 0
    findings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.view not in VIEWS:
            raise ValueError(f"no view is called {str(self.view)[:40]!r}; give one of {', '.join(VIEWS)}")
        bounds = {
            "yaw": (-360, 360),
            "tilt": (-90, 90),
            "bone": BONE,
            "centre": (1, 10),
            "width": (0.2, 6),
            "look": (0, LOOKS),
        }
        for name, (low, high) in bounds.items():
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} is {getattr(self, name)!r}; a number from {low} to {high} is needed")
        if self.size not in SIZES:
            raise ValueError(f"size is {self.size}; one of {', '.join(map(str, SIZES))} is needed")
        if unknown := [name for name in self.findings if name not in FINDINGS]:
            raise ValueError(f"no finding is called {str(unknown[0])[:40]!r}; give some of {', '.join(FINDINGS)}")

    @classmethod
    def read(cls, given: Mapping[str, Any]) -> Shot:
        """Read what a browser sent.

        Args:
            given: Numbers by the names of the attributes, and `findings`, a list of names; what is missing stays as by
                default.

        Returns:
            The shot, within its ranges.

        Raises:
            ValueError: Something that is no number, or out of its range.
        """
        try:
            numbers: dict[str, Any] = {
                n: float(given[n]) for n in ("yaw", "tilt", "bone", "centre", "width") if n in given
            }
            whole: dict[str, Any] = {n: int(given[n]) for n in ("size", "look") if n in given}
            names = tuple(sorted({str(name) for name in given.get("findings", [])}))
            if not all(map(math.isfinite, numbers.values())):
                raise ValueError("not finite")
        except (TypeError, ValueError, OverflowError):
            raise ValueError("a picture's settings are numbers, and findings a list of names") from None
        return cls(view=str(given.get("view", "PA")), findings=names, **numbers, **whole)

    @property
    def pose(self) -> tuple[Any, ...]:
        """What the line integrals depend on."""
        return self.view, self.yaw, self.tilt, self.size, self.findings


@dataclass(eq=False)
class Scene:
    """A CT, ready to be projected, and those of it with findings.

    Attributes:
        volume: Body alone, bone known.
        name: What its owner calls it.
        box: As `body_box` gives it, of the volume.
    """

    volume: Volume
    name: str
    box: tuple[np.ndarray, np.ndarray] = field(init=False)
    _variants: dict[tuple[str, ...], tuple[Volume, list[Finding]]] = field(default_factory=dict, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def __post_init__(self) -> None:
        self.box = body_box(self.volume)

    @classmethod
    def of(cls, volume: Volume, name: str) -> Scene:
        """Of a volume as it was read, whose memory is used.

        Args:
            volume: In HU; not to be used afterwards.
            name: What its owner calls it.

        Returns:
            The scene, body and bone found.
        """
        return cls(prepare(volume), name)

    @property
    def bytes(self) -> int:
        """Of its voxels, and of as many again that the projector keeps."""
        return 2 * int(self.volume.hu.nbytes + self.volume.bone.nbytes)  # type: ignore[union-attr]

    @property
    def takes_findings(self) -> bool:
        """Whether it has a label map, in whose organs they are put."""
        return self.volume.labels is not None

    def with_findings(self, names: tuple[str, ...]) -> tuple[Volume, list[Finding]]:
        """The volume with findings put in, and what they are.

        Args:
            names: Of FINDINGS, sorted; the last few combinations are kept.

        Returns:
            The volume itself and no finding where no names are given.

        Raises:
            ValueError: There is no label map, or no room.
        """
        if not names:
            return self.volume, []
        if not self.takes_findings:
            raise ValueError("findings are put into organs, and this CT came without a label map: take the sample CT")
        with self._lock:
            if names not in self._variants:
                volume, found = self.volume, []
                for name, add in FINDINGS.items():
                    if name in names:
                        volume, finding = add(volume)
                        found.append(finding)
                while len(self._variants) >= VARIANTS:
                    self._variants.pop(next(iter(self._variants)))
                self._variants[names] = volume, found
            return self._variants[names]

    def beam(self, shot: Shot) -> ConeBeam:
        """Where source and detector are.

        Args:
            shot: View, turn, tip and size.

        Returns:
            The preset's beam, turned about the body's long axis and then tipped about the detector's rows.
        """
        beam = ConeBeam.preset(shot.view, self.volume, (shot.size, shot.size), box=self.box).orbit(shot.yaw)
        x, y, z = beam.numpy("du")
        return beam.orbit(shot.tilt, (float(x), float(y), float(z)))

    def lines(self, shot: Shot) -> np.ndarray:
        """float32 (2, H, W): line integrals of soft tissue and of what bone adds to it.

        Args:
            shot: Pose and findings; its display does not matter here.

        Returns:
            Without a unit; their sum is the line integral of all.
        """
        volume, _ = self.with_findings(shot.findings)
        return project(volume, [self.beam(shot)], materials=("soft", "bone"))[0].cpu().numpy()

    def truth(self, shot: Shot) -> Truth:
        """Findings that are in the picture, their boxes, and the report of the preset's view.

        Args:
            shot: Pose and findings.

        Returns:
            As `drr.truth`; boxes in pixels of the shot.
        """
        from drr import truth

        volume, found = self.with_findings(shot.findings)
        return truth(volume, found, self.beam(shot), shot.view)


def picture(lines: np.ndarray, shot: Shot) -> np.ndarray:
    """Line integrals (2, H, W) of soft tissue and bone as the picture that is shown, float32 (H, W) in [-1, 1].

    Film has one law for every bone's strength; a digital look is measured on the whole radiograph and then held.

    Args:
        lines: As `Scene.lines` gives them, of this shot.
        shot: The strength of the bones, and the display.

    Returns:
        Bones bright.
    """
    soft, bone = lines
    faded = np.float32(shot.bone)
    if not shot.look:
        return detector_response(soft + faded * bone, shot.centre, shot.width).clip(-1, 1)
    look, pixel_mm = Look.random(np.random.default_rng(shot.look)), FIELD_MM / shot.size
    shown = shown_bone(bone, look, pixel_mm)
    return develop(soft + shown, look, pixel_mm)(soft + faded * shown).clip(-1, 1)
