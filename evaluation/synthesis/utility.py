"""Utility of synthetic images: train a timm classifier on real, on synthetic and on both, test on real images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from evaluation.features.extract import TRANSFORMS, Extractor, Reading, Transform, extract, loader_options
from evaluation.features.labels import read_labels
from evaluation.inputs import ImageSet, check_pair, check_set, check_splits
from evaluation.reporting.cells import Cell, Interval
from evaluation.reporting.report import Report, Table
from evaluation.reporting.statistics import auroc_interval
from radiographs import read_radiograph


@dataclass(frozen=True)
class UtilityProtocol:
    """How classifiers are trained.

    Attributes:
        classes: The labels.
        model: A timm name.
        weights: A .safetensors file of it; None: random weights.
        size: Side of the input in pixels.
        steps: Of training, the same for each training set, so that none is favoured by its size.
        learning_rate: Of AdamW.
        missing: What an empty label means, see `evaluation.features.labels.read_labels`.
        accept: See `evaluation.inputs.check_set`.
        seed: Of the network and the order of images.
        reading: How images are read.
    """

    classes: Sequence[str]
    model: str = "resnet18"
    weights: str | None = None
    size: int = 224
    steps: int = 2000
    learning_rate: float = 1e-4
    missing: str = "unknown"
    accept: Sequence[str] = ()
    seed: int = 0
    reading: Reading = field(default_factory=Reading)

    @property
    def transform(self) -> Transform:
        """ImageNet's input, which timm's weights expect."""
        return replace(TRANSFORMS["imagenet"], size=self.size)


class LabelledImages(Dataset):
    """Images with labels: (image (3, S, S), labels (L,) with NaN for unknown) of each path.

    Args:
        images: Sets, one after the other.
        labels: (N, L) of all of them.
        transform: Image (H, W) -> (3, S, S).
    """

    def __init__(
        self, images: Sequence[ImageSet], labels: np.ndarray, transform: Callable[[np.ndarray], Tensor]
    ) -> None:
        self.paths = [path for part in images for path in part.paths.values()]
        self.labels = torch.from_numpy(labels).float()
        self.transform = transform

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.transform(read_radiograph(self.paths[index]).pixels), self.labels[index]


class LabelClassifier(L.LightningModule):
    """Training by binary cross-entropy over the labels that are known.

    Args:
        network: (B, 3, S, S) -> logits (B, L).
        learning_rate: Of AdamW.
        advance: Called with the steps done.
    """

    def __init__(self, network: nn.Module, learning_rate: float, advance: Callable[[int], None]) -> None:
        super().__init__()
        self.network, self.learning_rate, self.advance = network, learning_rate, advance

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        """Binary cross-entropy over the labels that are known.

        Args:
            batch: Images (B, channels, S, S), and labels (B, classes) of 0, 1 or NaN for unknown.
            index: Not used.

        Returns:
            A scalar; 0 if no label is known.
        """
        images, labels = batch
        known = ~labels.isnan()
        losses = F.binary_cross_entropy_with_logits(self.network(images), labels.nan_to_num(), reduction="none")
        self.advance(self.global_step + 1)
        return (losses * known).sum() / known.sum().clamp_min(1)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """How the classifier learns.

        Returns:
            AdamW of all weights, at `learning_rate`.
        """
        return torch.optim.AdamW(self.parameters(), lr=self.learning_rate)


def build_network(protocol: UtilityProtocol) -> nn.Module:
    """The timm network with a logit for each class; the same start for the same seed.

    Args:
        protocol: Names the network, its classes, its seed, and a file of weights to start from, if any.

    Returns:
        The network, of images (B, channels, S, S) as its protocol prepares them; torch's global seed is set on the way.

    Raises:
        FileNotFoundError: No such file of weights.
        ValueError: timm is not installed or has no such network, or the weights do not fit it.
    """
    try:
        import timm
    except ImportError:
        raise ValueError("utility needs timm: pip install 'radiolucent[evaluation]'") from None
    torch.manual_seed(protocol.seed)
    try:
        network = timm.create_model(protocol.model, pretrained=False, num_classes=len(protocol.classes))
    except RuntimeError as error:
        raise ValueError(f"--model {protocol.model}: {error}") from None
    if protocol.weights is not None:
        _load_weights(network, Path(protocol.weights))
    return network


def _load_weights(network: nn.Module, path: Path) -> None:
    """Weights under the network's names; the classifier itself may be absent or of another shape, and stays random."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file of weights (.safetensors)")
    try:
        stored = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is no safetensors file ({error})") from None
    head = str(network.pretrained_cfg["classifier"])  # type: ignore[index]
    own = network.state_dict()
    fitting = {name: tensor for name, tensor in stored.items() if name in own and own[name].shape == tensor.shape}
    lacking = [name for name in own if name not in fitting and not name.startswith(f"{head}.")]
    if lacking:
        raise ValueError(
            f"{path} lacks {len(lacking)} tensors of this model, such as {lacking[0]}: is it this model's?"
        )
    network.load_state_dict(fitting, strict=False)


def train(images: Sequence[ImageSet], protocol: UtilityProtocol, what: str) -> nn.Module:
    """Train a network on some sets together.

    Args:
        images: The sets.
        protocol: How, and for how many steps.
        what: Names the sets for the progress.

    Returns:
        The network.
    """
    labels = np.concatenate([read_labels(part, protocol.classes, protocol.missing) for part in images])
    reading = protocol.reading
    data = LabelledImages(images, labels, protocol.transform)
    order = torch.Generator().manual_seed(protocol.seed)
    batch = min(reading.batch_size, len(data))
    options = loader_options(reading.workers)
    loader = DataLoader(data, batch, shuffle=True, drop_last=True, generator=order, **options)
    network = build_network(protocol)
    module = LabelClassifier(network, protocol.learning_rate, lambda n: reading.progress(what, n, protocol.steps))
    trainer = L.Trainer(
        max_steps=protocol.steps,
        accelerator="gpu" if reading.device == "cuda" else "cpu",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, loader)
    return network.eval()


def evaluate_utility(
    real: ImageSet,
    synthetic: ImageSet,
    test: ImageSet,
    protocol: UtilityProtocol,
    settings: dict[str, Any],
    patients: Sequence[str] | None = None,
) -> Report:
    """AUROC of each label after training on real, synthetic and both.

    Args:
        real: Real training images.
        synthetic: Synthetic training images.
        test: Real images on which all are tested.
        protocol: How classifiers are trained.
        settings: The options, for the page.
        patients: Of the test images, for the intervals.

    Returns:
        The report.
    """
    report = Report("Utility", settings)
    sets = {"real": real, "synthetic": synthetic, "test": test}
    report.settings |= {f"{name} images": len(images.paths) for name, images in sets.items()}
    transform = protocol.transform
    report.settings["input"] = repr(transform)
    found = {
        name: extract(
            images, Extractor("check", nn.AdaptiveAvgPool2d(1), transform, "check"), protocol.reading, f"check, {name}"
        )
        for name, images in sets.items()
    }
    for name, images in sets.items():
        check_set(images, found[name].thumbnails, found[name].sizes, protocol.accept)
    for a, b in (("real", "synthetic"), ("real", "test"), ("synthetic", "test")):
        check_pair(sets[a], found[a].thumbnails, sets[b], found[b].thumbnails)
    check_splits(real, found["real"].thumbnails, test, found["test"].thumbnails)
    labels = read_labels(test, protocol.classes, protocol.missing)
    scores = {}
    for name, parts in {"real": [real], "synthetic": [synthetic], "both": [real, synthetic]}.items():
        network = train(parts, protocol, f"training on {name}")
        classifier = Extractor(name, network, transform, name)
        reading = Reading(protocol.reading.batch_size, protocol.reading.workers, protocol.reading.device)
        scores[name] = extract(test, classifier, reading).features
    report.tables.append(area_table(labels, scores, protocol.classes, patients))
    report.notes.append(
        f"Each network was trained for {protocol.steps} steps from the same start, on {protocol.model}."
    )
    if patients is None:
        report.notes.append("Patients were not named, so that a leak between the splits could not be looked for.")
    report.data = {"scores": scores, "labels": labels, "images": test.names}
    return report


def area_table(
    labels: np.ndarray, scores: Mapping[str, np.ndarray], classes: Sequence[str], patients: Sequence[str] | None
) -> Table:
    """AUROC with its interval by label (rows) and training set (columns), and the means over labels.

    Args:
        labels: (N, L) of 0, 1, NaN.
        scores: {training set: (N, L)}.
        classes: L names.
        patients: Of the N images.

    Returns:
        The table.
    """
    rows: list[list[Cell]] = []
    for index, name in enumerate(classes):
        known = ~np.isnan(labels[:, index])
        groups = None if patients is None else [p for p, keep in zip(patients, known) if keep]
        truth = labels[known, index]
        areas = [
            auroc_interval(truth, values[known, index], groups) if known.any() else (float("nan"),) * 3
            for values in scores.values()
        ]
        rows.append([name, int(truth.sum()), *(Interval(*area) for area in areas)])
    columns = range(2, 2 + len(scores))
    means = [float(np.nanmean([row[c].value for row in rows])) for c in columns]  # type: ignore[union-attr]
    rows.append(["mean", None, *means])
    return Table("AUROC on real test images, by training set", ["label", "positive", *scores], rows)
