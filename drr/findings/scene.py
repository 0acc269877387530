"""Findings drawn from a plan and put into a body, once or twice: as the prior study shows it, and the current one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from scipy import ndimage

from drr.findings.heart import add_cardiomegaly
from drr.findings.lung import LOBES, add_consolidation, add_nodule, lobe_mask, nodule_centre
from drr.findings.plan import LIMITS, MEASURES, SIDES, Plan, Range, Wish
from drr.findings.pleura import add_pleural_effusion, add_pneumothorax
from drr.findings.report import Finding
from drr.volume import Volume, require_array

PRIOR, CURRENT = "prior", "current"
SMALLER = (0.45, 0.72)  # of the larger one's measure, in the smaller of two studies
HEART_STEP = (0.05, 0.09)  # by which a cardiothoracic ratio differs between two studies
MARGIN_MM = 20.0  # around lungs and heart, that findings change
CLEAR_MM = 4.0  # between two nodules
IN_LOBES = ("nodule", "consolidation")
# the heart moves the lungs, and air moves them; what lies in them keeps its size, and fluid stands where there is room
ORDER = ("cardiomegaly", "pneumothorax", "nodule", "consolidation", "pleural effusion")


@dataclass(frozen=True)
class Planned:
    """One finding that is to be put in.

    Args:
        kind: What.
        place: In words where: a lobe, a side, or "".
        sizes: {"prior" or "current": its measures}; a study that lacks it is left out.
        seed: Of its place and shape, the same in both studies.
    """

    kind: str
    place: str
    sizes: Mapping[str, Mapping[str, float]]
    seed: int


@dataclass(frozen=True, eq=False)
class Scene:
    """A body's chest as one study shows it.

    Args:
        volume: The chest alone, cut out of the body (see `chest_box`), with what was put in.
        findings: {place in the list of what was planned: the finding}.
        notes: What could not be put in, and why.
    """

    volume: Volume
    findings: dict[int, Finding] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def draw_findings(plan: Plan, rng: np.random.Generator, two_studies: bool = False) -> list[Planned]:
    """What one study, or a pair of studies, shall have.

    Args:
        plan: What, where, how severe, how often.
        rng: The same one gives the same findings.
        two_studies: Whether each finding gets a change between a prior and a current study.

    Returns:
        In the order in which they must be put in; a finding for which no place is left is not among them.
    """
    drawn: list[Wish] = []
    for wish in plan.wishes:
        there = rng.random() < wish.probability
        count = int(rng.integers(wish.count[0], wish.count[1] + 1))
        drawn += [wish] * (count if there else 0)
    planned: list[Planned] = []
    for wish in drawn:
        place = _draw_place(wish, [other.kind for other in drawn], planned, rng)
        if place is None:
            continue
        sizes = _draw_sizes(wish, rng, two_studies)
        planned.append(Planned(wish.kind, place, sizes, int(rng.integers(2**31))))
    return sorted(planned, key=lambda one: ORDER.index(one.kind))


def _draw_place(wish: Wish, kinds: Sequence[str], planned: Sequence[Planned], rng: np.random.Generator) -> str | None:
    """A lobe, a side or ""; None where the kind is there already and has no other place."""
    if wish.kind == "cardiomegaly":
        return None if any(one.kind == wish.kind for one in planned) else ""
    options = _anywhere(wish.kind, kinds, planned)
    if wish.places:
        in_lobes = wish.kind in IN_LOBES
        asked = [
            [lobe for lobe in LOBES if lobe.startswith(p)] if in_lobes and p in SIDES else [p] for p in wish.places
        ]
        options = [place for places in asked for place in places]
    taken = {one.place for one in planned if one.kind == wish.kind and wish.kind != "nodule"}
    options = [place for place in options if place not in taken]
    return str(rng.choice(options)) if options else None


def _anywhere(kind: str, kinds: Sequence[str], planned: Sequence[Planned]) -> list[str]:
    """Where a kind may lie whose place nobody asked for, so that it hides nothing and is not hidden.

    Nodule and consolidation avoid each other's lobes and, with an effusion, the lower ones; air avoids fluid's side.
    """
    if kind not in IN_LOBES:
        other = {one.place for one in planned if one.kind not in IN_LOBES and one.kind != kind}
        return [side for side in SIDES if side not in other] or list(SIDES)
    avoided = {one.place for one in planned if one.kind in IN_LOBES}
    avoided |= {f"{side} lower lobe" for side in SIDES} if "pleural effusion" in kinds else set()
    avoided |= {"right middle lobe"} if kind == "nodule" else set()  # it has little room
    return [lobe for lobe in LOBES if lobe not in avoided] or list(LOBES)


def _draw_sizes(wish: Wish, rng: np.random.Generator, two_studies: bool) -> dict[str, dict[str, float]]:
    main, words, others = MEASURES[wish.kind]
    ranges: dict[str, Range] = {main: words[str(rng.choice(wish.severities))], **others, **wish.measures}
    size = {name: float(rng.uniform(*ends)) for name, ends in ranges.items()}
    shrink, step = rng.uniform(*SMALLER), rng.uniform(*HEART_STEP)
    names, weights = list(wish.changes), np.array(list(wish.changes.values()), float)
    change = str(rng.choice(names, p=weights / weights.sum()))
    if not two_studies:
        return {CURRENT: size}
    smaller = size[main] - step if main == "cardiothoracic_ratio" else size[main] * shrink
    small = {**size, main: float(max(smaller, LIMITS[main][0]))}
    return {
        "new": {CURRENT: size},
        "resolved": {PRIOR: size},
        "grown": {PRIOR: small, CURRENT: size},
        "shrunk": {PRIOR: size, CURRENT: small},
        "unchanged": {PRIOR: size, CURRENT: size},
    }[change]


def chest_box(volume: Volume) -> tuple[slice, slice, slice]:
    """Lungs and heart with 20 mm around them: all that findings change, in a third of the voxels.

    Args:
        volume: With a label map.

    Returns:
        Ranges of z, y and x, which lie within the volume.

    Raises:
        ValueError: No label map, one without lungs, or other axes than `read_ct` gives.
    """
    require_array(volume, "putting findings in")
    volume.require_patient_axes("putting findings in")
    names = volume.names_where(lambda name: name.startswith("lung_") or name == "heart").values()
    mask = volume.mask(*names)
    if not mask.any():
        raise ValueError(f"{volume.source or 'volume'}: the label map has no lungs, so no finding can be put in")
    box = ndimage.find_objects(mask.astype(np.uint8))[0]
    margin = np.ceil(MARGIN_MM / volume.spacing[::-1]).astype(int)
    z, y, x = (slice(max(0, part.start - m), part.stop + m) for part, m in zip(box, margin))
    return z, y, x


def cut_chest(volume: Volume, box: tuple[slice, slice, slice]) -> Volume:
    """The part of a volume in a box of voxels, with copies of its arrays.

    Args:
        volume: The body.
        box: As `chest_box` gives it.

    Returns:
        A volume of its own.
    """
    affine = volume.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ [part.start for part in box[::-1]]
    arrays: dict[str, Any] = {name: getattr(volume, name) for name in ("hu", "labels", "bone")}
    return volume.replace(affine=affine, **{k: None if a is None else a[box].copy() for k, a in arrays.items()})


def paste_chest(volume: Volume, part: Volume, box: tuple[slice, slice, slice]) -> Volume:
    """The volume with HU and labels of its chest replaced by those of `part`.

    Args:
        volume: The body.
        part: As `cut_chest` gives it, changed.
        box: Where it was cut out.

    Returns:
        A new volume.
    """
    hu = volume.hu.copy()
    hu[box] = part.hu
    labels = None if volume.labels is None else volume.labels.copy()
    if labels is not None:
        labels[box] = part.labels
    return volume.replace(hu=hu, labels=labels)


def put_in(chest: Volume, planned: Sequence[Planned], studies: Sequence[str] = (CURRENT,)) -> dict[str, Scene]:
    """The chest with what was planned, for each study.

    What is of one size in both studies lies at the same place and has the same shape in both; what grows holds what it
    was. A finding that has no room, in any of its studies, is left out with a note.

    Args:
        chest: A chest with its label map, as `cut_chest` gives it.
        planned: As `draw_findings` gives them, in the order of ORDER.
        studies: "prior", "current" or both.

    Returns:
        {study: its scene}.
    """
    scenes = {study: Scene(chest) for study in studies}
    for n, one in enumerate(planned):
        if one.kind == "cardiomegaly":
            _put_heart(scenes, n, one)
    taken = np.zeros(chest.hu.shape, bool)
    for n, one in enumerate(planned):
        if one.kind == "cardiomegaly":
            continue
        try:
            about = _shared(one, [scene.volume for scene in scenes.values()], taken)
            done = {study: _add(scenes[study], one, one.sizes[study], about) for study in studies if study in one.sizes}
        except ValueError as error:
            scenes = {s: replace(scene, notes=(*scene.notes, f"{one.kind}: {error}")) for s, scene in scenes.items()}
            continue
        for study, (scene, finding) in done.items():
            scenes[study] = replace(scene, findings={**scene.findings, n: finding})
    return scenes


def _put_heart(scenes: dict[str, Scene], n: int, one: Planned) -> None:
    """Enlarge the heart in each study that shall have it; a ratio that the body exceeds already is no finding."""
    made: dict[float, tuple[Volume, Finding]] = {}
    for study, scene in scenes.items():
        if study not in one.sizes:
            continue
        ratio = one.sizes[study]["cardiothoracic_ratio"]
        try:
            if ratio not in made:
                made[ratio] = add_cardiomegaly(scene.volume, ratio)
        except ValueError as error:
            scenes[study] = replace(scene, notes=(*scene.notes, f"cardiomegaly: {error}"))
            continue
        volume, finding = made[ratio]
        scenes[study] = replace(scene, volume=volume, findings={**scene.findings, n: finding})


def _shared(one: Planned, chests: Sequence[Volume], taken: np.ndarray) -> Any:
    """What all studies have in common of a finding: a nodule's centre, the lobe of a consolidation.

    chests: of each study. taken: bool (D, H, W), where nodules lie; the new one is added to it.
    """
    if one.kind == "consolidation":
        return np.logical_and.reduce([lobe_mask(chest, one.place) for chest in chests])
    if one.kind != "nodule":
        return None
    largest = max(size["diameter_mm"] for size in one.sizes.values())
    lobes = [lobe_mask(chest, one.place) for chest in chests]
    smallest = chests[int(np.argmin([lobe.sum() for lobe in lobes]))]
    occupied = taken | ~np.logical_and.reduce(lobes)
    centre = nodule_centre(smallest, one.place, np.random.default_rng([one.seed, 1]), largest, occupied)
    taken |= _ball(smallest, centre, largest / 2 + CLEAR_MM)
    return centre


def _add(scene: Scene, one: Planned, size: Mapping[str, float], about: Any) -> tuple[Scene, Finding]:
    """The scene with one more finding in its volume (not yet in its list), and the finding."""
    volume, place, rng = scene.volume, one.place, np.random.default_rng([one.seed, 2])
    if one.kind == "nodule":
        made = add_nodule(volume, place, rng, size["diameter_mm"], size["hu"], size["spiculation"], about)
    elif one.kind == "consolidation":
        made = add_consolidation(volume, place, rng, size["lobe_fraction"], size["density"], about)
    elif one.kind == "pleural effusion":
        made = add_pleural_effusion(volume, place, size["volume_ml"])
    else:
        made = add_pneumothorax(volume, place, size["gap_mm"])
        air = made[1].mask  # no lobe is there any more, so nothing is put there
        made = made[0].replace(labels=np.where(air, 0, np.asarray(volume.labels)).astype(np.uint8)), made[1]
    return replace(scene, volume=made[0]), made[1]


def _ball(volume: Volume, centre: np.ndarray, radius_mm: float) -> np.ndarray:
    """Bool (D, H, W): what lies within a distance of a voxel."""
    reach = np.ceil(radius_mm / volume.spacing[::-1]).astype(int)
    low, high = np.maximum(centre - reach, 0), np.minimum(centre + reach + 1, volume.hu.shape)
    axes = [(np.arange(a, b) - c) * s for a, b, c, s in zip(low, high, centre, volume.spacing[::-1])]
    ball = np.zeros(volume.hu.shape, bool)
    near = axes[0][:, None, None] ** 2 + axes[1][:, None] ** 2 + axes[2] ** 2 <= radius_mm**2
    ball[tuple(slice(a, b) for a, b in zip(low, high))] = near
    return ball
