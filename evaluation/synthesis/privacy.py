"""The privacy protocol: are synthetic images copies of training images, or of each other?

For each synthetic image its nearest training image is compared with its nearest held-out image. If the training images
were no nearer than others of their kind, the nearest of all would be a training image in a share n / (n + m) of the
cases, n and m being the two counts: a larger share is memorisation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from evaluation.features.extract import Extractor, Reading, extract
from evaluation.features.neighbours import nearest
from evaluation.inputs import ImageSet, check_pair, check_set, check_splits
from evaluation.reporting.cells import Cell, Interval
from evaluation.reporting.report import Report, Table
from evaluation.reporting.statistics import bootstrap_mean
from radiographs import read_radiograph

DUPLICATE = 0.01  # root mean square difference on the grey scale 0 to 1 under which two images count as duplicates
SAME_PATIENT = 0.5


@dataclass(frozen=True)
class PixelTransform:
    """The image scaled to a square, grey levels 0 to 1, as a vector over its side: distances are RMS differences.

    Attributes:
        size: Side in pixels.
    """

    size: int = 64

    def __call__(self, pixels: np.ndarray) -> Tensor:
        """float32 (H, W) in [-1, 1] to (size * size,)."""
        small = cv2.resize(pixels, (self.size, self.size), interpolation=cv2.INTER_AREA)
        return torch.from_numpy((small.ravel() + 1) / (2 * self.size))


@dataclass
class PrivacyProtocol:
    """What is compared.

    Attributes:
        features: {name: Extractor} beside the pixels.
        pixel_size: Side in pixels at which pixels are compared.
        siamese: (B, C, S, S) twice -> logit of "the same patient".
        worst: How many offenders are listed.
        accept: See `evaluation.inputs.check_set`.
        reading: How images are read.
    """

    features: Mapping[str, Extractor] = field(default_factory=dict)
    pixel_size: int = 64
    siamese: Extractor | None = None
    worst: int = 12
    accept: Sequence[str] = ()
    reading: Reading = field(default_factory=Reading)


@dataclass(frozen=True)
class Offender:
    """A synthetic image beside its nearest training and held-out images; distances are RMS pixel differences.

    Attributes:
        synthetic: Its file.
        train: File of the nearest training image.
        heldout: File of the nearest held-out image, if there is such a set.
        distance: To the training image.
        ratio: That over the distance to the held-out image.
    """

    synthetic: Path
    train: Path
    heldout: Path | None
    distance: float
    ratio: float


def evaluate_privacy(
    synthetic: ImageSet, train: ImageSet, heldout: ImageSet | None, protocol: PrivacyProtocol, settings: dict[str, Any]
) -> tuple[Report, list[Offender]]:
    """Distances to neighbours in pixels and features, duplicates, re-identification, and the worst offenders.

    Args:
        synthetic: What is judged.
        train: What the generator was trained on.
        heldout: Real images that it has not seen, or None.
        protocol: What is compared.
        settings: The options, for the page.

    Returns:
        The report and the offenders.

    Raises:
        BadInputs: Files that cannot be read, or sets that cannot be compared.
    """
    report = Report("Privacy", settings)
    sets = {"synthetic": synthetic, "train": train} | ({} if heldout is None else {"heldout": heldout})
    report.settings |= {f"{name} images": len(images.paths) for name, images in sets.items()}
    columns = ["space", "to training", "to held-out", "ratio", "nearer to training", "expected", "p", "to synthetic"]
    table = Table("Nearest neighbours (medians)", columns, [], __doc__.split("\n\n")[1].replace("\n", " "))  # type: ignore[union-attr]
    report.tables.append(table)
    pixels = Extractor("pixels", nn.Identity(), PixelTransform(protocol.pixel_size), "pixels")
    offenders: list[Offender] = []
    for space, extractor in {"pixels (RMS)": pixels, **protocol.features}.items():
        found = {
            name: extract(images, extractor, protocol.reading, f"{space}, {name}") for name, images in sets.items()
        }
        for name, images in sets.items():
            check_set(images, found[name].thumbnails, found[name].sizes, protocol.accept)
            if name != "synthetic":
                check_pair(images, found[name].thumbnails, synthetic, found["synthetic"].thumbnails)
        if heldout is not None:
            check_splits(train, found["train"].thumbnails, heldout, found["heldout"].thumbnails)
        vectors = {name: extracted.features for name, extracted in found.items()}
        near = {
            name: nearest(vectors["synthetic"], vectors[name], 1, protocol.reading.device)
            for name in vectors
            if name != "synthetic"
        }
        within = nearest(vectors["synthetic"], vectors["synthetic"], 1, protocol.reading.device, itself=True)
        table.rows.append(_row(space, near, within[0], {n: len(s.paths) for n, s in sets.items()}))  # type: ignore[attr-defined]
        if extractor is pixels:
            _duplicates(report, synthetic, within)
            offenders = _offenders(synthetic, train, heldout, near, protocol.worst)
        if protocol.siamese is not None and (extractor is not pixels or not protocol.features):
            _reidentify(report, space, synthetic, train, near["train"][1][:, 0], protocol)
    rows: list[list[Cell]] = [[o.synthetic.name, o.train.name, o.distance, o.ratio] for o in offenders]
    report.tables.append(
        Table("Nearest to a training image", ["synthetic", "training", "RMS distance", "ratio to held-out"], rows)
    )
    if heldout is None:
        report.notes.append(
            "Without held-out images a small distance cannot be told from a common one: give --heldout."
        )
    return report, offenders


def _row(
    space: str, near: Mapping[str, tuple[np.ndarray, np.ndarray]], within: np.ndarray, counts: dict[str, int]
) -> list[Cell]:
    train = near["train"][0][:, 0]
    if "heldout" not in near:
        return [space, float(np.median(train)), *(None,) * 5, float(np.median(within))]
    from scipy.stats import binomtest

    heldout = near["heldout"][0][:, 0]
    nearer = train < heldout
    expected = counts["train"] / (counts["train"] + counts["heldout"])
    p = float(binomtest(int(nearer.sum()), len(nearer), expected, "greater").pvalue)
    ratio = np.median(train / np.maximum(heldout, 1e-12))
    medians = float(np.median(train)), float(np.median(heldout)), float(ratio)
    return [space, *medians, Interval(*bootstrap_mean(nearer.astype(float))), expected, p, float(np.median(within))]


def _duplicates(report: Report, synthetic: ImageSet, within: tuple[np.ndarray, np.ndarray]) -> None:
    distances, indices = within[0][:, 0], within[1][:, 0]
    twice = np.flatnonzero(distances < DUPLICATE)
    names = synthetic.names
    rows: list[list[Cell]] = [
        [names[i], names[indices[i]], float(distances[i])] for i in twice[np.argsort(distances[twice])][:20]
    ]
    note = (
        f"{len(twice)} of {len(names)} synthetic images have another within an RMS difference of {DUPLICATE} on the "
        "grey scale 0 to 1."
    )
    report.tables.append(Table("Duplicates within the synthetic set", ["image", "nearest", "RMS distance"], rows, note))
    report.data["duplicates"] = [names[i] for i in twice]


def _offenders(
    synthetic: ImageSet, train: ImageSet, heldout: ImageSet | None, near: Mapping, worst: int
) -> list[Offender]:
    distances = near["train"][0][:, 0]
    others = np.full(len(distances), np.nan) if heldout is None else near["heldout"][0][:, 0]
    ratios = distances / np.maximum(others, 1e-12)
    order = np.argsort(distances if heldout is None else ratios, kind="stable")[:worst]
    paths = {name: list(images.paths.values()) for name, images in (("train", train), ("heldout", heldout)) if images}
    return [
        Offender(
            list(synthetic.paths.values())[i],
            paths["train"][near["train"][1][i, 0]],
            paths["heldout"][near["heldout"][1][i, 0]] if heldout else None,
            float(distances[i]),
            float(ratios[i]),
        )
        for i in order
    ]


def reidentification(network: nn.Module, pairs: Sequence[tuple[Tensor, Tensor]], device: str) -> np.ndarray:
    """Probability that both images of each pair are of one patient.

    Args:
        network: Siamese, (a, b) -> logit.
        pairs: N pairs of images (C, S, S).
        device: Where to compute.

    Returns:
        (N,).

    Raises:
        ValueError: The network gives more than one logit a pair.
    """
    first, second = (torch.stack(images).to(device) for images in zip(*pairs))
    with torch.inference_mode():
        logits = network(first, second)
    if logits.numel() != len(pairs):
        raise ValueError(
            f"the siamese network gave {tuple(logits.shape)} for {len(pairs)} pairs, expected one logit each"
        )
    return logits.flatten().double().sigmoid().cpu().numpy()


def _reidentify(
    report: Report, space: str, synthetic: ImageSet, train: ImageSet, indices: np.ndarray, protocol: PrivacyProtocol
) -> None:
    siamese = protocol.siamese
    if siamese is None:
        return
    network = siamese.network.to(protocol.reading.device)
    ours, theirs = list(synthetic.paths.values()), list(train.paths.values())
    scores = []
    for start in range(0, len(ours), protocol.reading.batch_size):
        chosen = range(start, min(start + protocol.reading.batch_size, len(ours)))
        pairs = [
            tuple(siamese.transform(read_radiograph(path).pixels) for path in (ours[i], theirs[indices[i]]))
            for i in chosen
        ]
        scores.append(reidentification(network, pairs, protocol.reading.device))  # type: ignore[arg-type]
        protocol.reading.progress("re-identification", chosen.stop, len(ours))
    found = np.concatenate(scores)
    same = (found > SAME_PATIENT).astype(float)
    rows: list[list[Cell]] = [
        ["mean score", Interval(*bootstrap_mean(found))],
        ["largest score", float(found.max())],
        [f"share above {SAME_PATIENT}", Interval(*bootstrap_mean(same))],
    ]
    worst = np.argsort(-found, kind="stable")[: protocol.worst]
    rows += [[f"{ours[i].name} and {theirs[indices[i]].name}", float(found[i])] for i in worst]
    note = f"Each synthetic image with its nearest training image ({space})."
    report.tables.append(Table("Re-identification", ["", "score"], rows, note))
    report.data["re-identification"] = found
