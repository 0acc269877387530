"""What tells findings, their sides and views in benchmarks.prompt_agreement: a CNN trained on rendered radiographs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.proof_data import FRONTAL, KINDS, SIDED, VIEWS, Row
from evaluation.statistics import auroc
from radiographs import read_radiograph
from radiographs.files import atomic_path

PERMUTATIONS = 200


class Classifier(nn.Module):
    """forward((B, 1, S, S) in [-1, 1]) -> logits: views (B, 4), findings (B, 5), and "it is left" (B, 4) of SIDED."""

    def __init__(self, size: int, channels: Sequence[int] = (24, 48, 72, 96, 96)) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 1
        for width in channels:
            layers += [nn.Conv2d(before, width, 3, stride=2, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
            before, size = width, -(-size // 2)
        self.features = nn.Sequential(*layers, nn.Flatten(), nn.Dropout(0.3))
        self.head = nn.Linear(before * size**2, len(VIEWS) + len(KINDS) + len(SIDED))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean, deviation = images.mean((2, 3), keepdim=True), images.std((2, 3), keepdim=True)
        logits = self.head(self.features((images - mean) / deviation.clamp(min=1e-3)))
        views, findings, left = logits.split([len(VIEWS), len(KINDS), len(SIDED)], dim=1)
        return views, findings, left


def read_images(folder: Path, names: Sequence[str]) -> Tensor:
    """(N, 1, S, S) float32 in [-1, 1]."""
    return torch.stack([torch.from_numpy(read_radiograph(folder / name).pixels)[None] for name in names])


def truth(rows: Sequence[Row]) -> tuple[Tensor, Tensor, Tensor]:
    """Of each row: view (N,) its place in VIEWS; findings (N, 5); left (N, 4), NaN where no side shows."""
    labels = [json.loads(row["labels"]) for row in rows]
    view = torch.tensor([VIEWS.index(row["view"]) for row in rows])
    findings = torch.tensor([[float(kind in found) for kind in KINDS] for found in labels])
    left = torch.tensor(
        [
            [float(found[k] == "left") if k in found and row["view"] in FRONTAL else float("nan") for k in SIDED]
            for found, row in zip(labels, rows)
        ]
    )
    return view, findings, left


def augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Moved by up to 3 pixels, brighter or darker, blurred or noisy, a batch at a time."""
    dy, dx = torch.randint(-3, 4, (2,), generator=generator).tolist()
    images = F.pad(images, (3, 3, 3, 3), mode="replicate")[
        ..., 3 + dy : 3 + dy + images.shape[2], 3 + dx : 3 + dx + images.shape[3]
    ]
    gain, offset, noise = torch.rand(3, len(images), 1, 1, 1, generator=generator)
    if torch.rand((), generator=generator) < 0.5:
        images = F.avg_pool2d(images, 3, stride=1, padding=1, count_include_pad=False)
    images = images * (0.85 + 0.3 * gain) + 0.2 * (offset - 0.5)
    return images + 0.06 * noise * torch.randn(images.shape, generator=generator)


def train_classifier(folder: Path, rows: Sequence[Row], epochs: int, seed: int, batch: int = 32) -> Classifier:
    """Trained on rendered radiographs of `rows`, AdamW with one cycle of its rate."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    images, (view, findings, left) = read_images(folder, [row["image"] for row in rows]), truth(rows)
    model = Classifier(images.shape[-1]).train()
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.02)
    steps = epochs * (len(rows) // batch)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=max(steps, 2))
    for _ in range(epochs):
        order = torch.randperm(len(rows), generator=generator)
        for chosen in order[: len(rows) // batch * batch].split(batch):
            views, present, side = model(augment(images[chosen], generator))
            known = ~left[chosen].isnan()
            loss = F.cross_entropy(views, view[chosen])
            loss = loss + 2 * F.binary_cross_entropy_with_logits(present, findings[chosen])
            if known.any():
                loss = loss + F.binary_cross_entropy_with_logits(side[known], left[chosen][known])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            rate.step()
    return model.eval()


def save_classifier(model: Classifier, path: Path) -> None:
    """Its weights."""
    with atomic_path(path) as part:
        save_file(model.state_dict(), part)


def load_classifier(path: Path, size: int) -> Classifier:
    """What `save_classifier` wrote, for pictures of `size` pixels."""
    model = Classifier(size)
    model.load_state_dict(load_file(path))
    return model.eval()


@torch.no_grad()
def agreement(model: Classifier, images: Tensor, rows: Sequence[Row], seed: int) -> dict:
    """How far images show what `rows` ask for, by a classifier.

    views: the part whose likeliest view is the one asked for. findings: {kind: balanced accuracy at probability 1/2,
    the same and AUROC where the rows' labels are shuffled among the images (mean of 200 permutations), points = 100 *
    (balanced accuracy - shuffled balanced accuracy), AUROC}. sides: the part of frontal images, of those asked for a
    finding with a side, where that side is the likelier one.
    """
    outputs = [model(part) for part in images.split(64)]
    views, present, left = (torch.cat(column) for column in zip(*outputs))
    view, asked, side = truth(rows)
    random = np.random.default_rng(seed)
    shuffles = [random.permutation(len(rows)) for _ in range(PERMUTATIONS)]
    findings = {}
    for k, kind in enumerate(KINDS):
        label, score = asked[:, k].numpy() > 0.5, present[:, k].numpy()
        shuffled = [(balanced_accuracy(label[s], score > 0), auroc(label[s], score)) for s in shuffles]
        chance, chance_auroc = np.mean(shuffled, axis=0)
        own = balanced_accuracy(label, score > 0)
        findings[kind] = {
            "asked": int(label.sum()),
            "balanced_accuracy": round(own, 4),
            "shuffled": round(float(chance), 4),
            "points": round(100 * (own - float(chance)), 1),
            "auroc": round(auroc(label, score), 4),
            "auroc_shuffled": round(float(chance_auroc), 4),
        }
    known = ~side.isnan()
    right = (left > 0)[known] == (side > 0.5)[known]
    by_view = {
        name: round((views.argmax(1) == view)[view == i].float().mean().item(), 4) for i, name in enumerate(VIEWS)
    }
    return {
        "images": len(rows),
        "views": round((views.argmax(1) == view).float().mean().item(), 4),
        "by_view": by_view,
        "findings": findings,
        "mean_points": round(float(np.mean([one["points"] for one in findings.values()])), 1),
        "sides": {"asked": int(known.sum()), "right": round(right.float().mean().item(), 4)},
    }


def balanced_accuracy(label: np.ndarray, said: np.ndarray) -> float:
    """Mean of sensitivity and specificity, (N,) bool each; NaN where one class is absent."""
    if label.all() or not label.any():
        return float("nan")
    return float((said[label].mean() + (~said[~label]).mean()) / 2)
