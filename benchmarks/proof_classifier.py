"""What tells findings, their sides and views in benchmarks.prompt_agreement: a CNN trained on rendered radiographs."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.proof_data import FRONTAL, KINDS, SIDED, VIEWS, Row
from evaluation.distributions.fid import fid
from evaluation.distributions.kid import kid
from evaluation.reporting.statistics import auroc
from radiographs import read_radiograph
from radiographs.files import atomic_path

PERMUTATIONS = 200


class Classifier(nn.Module):
    """forward((B, 1, S, S) in [-1, 1]) -> logits: views (B, 4), findings (B, 5), and "it is left" (B, 4) of SIDED.

    What is found anywhere counts (maxima over the picture and its quarters), and where things lie (means over ninths).
    """

    def __init__(self) -> None:
        super().__init__()
        self.fine = nn.Sequential(*layer(1, 24, 2), *layer(24, 48, 2), *layer(48, 72, 2), *layer(72, 72, 1))
        self.coarse = nn.Sequential(*layer(72, 96, 2))
        self.dropout = nn.Dropout(0.2)
        self.head = nn.Linear(5 * 72 + 9 * 96, len(VIEWS) + len(KINDS) + len(SIDED))

    def see(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Feature maps, (B, 72, S / 8, S / 8) and (B, 96, S / 16, S / 16)."""
        mean, deviation = images.mean((2, 3), keepdim=True), images.std((2, 3), keepdim=True)
        fine = self.fine((images - mean) / deviation.clamp(min=1e-3))
        return fine, self.coarse(fine)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        fine, coarse = self.see(images)
        pooled = [F.adaptive_max_pool2d(fine, n).flatten(1) for n in (1, 2)]
        pooled.append(F.adaptive_avg_pool2d(coarse, 3).flatten(1))
        logits = self.head(self.dropout(torch.cat(pooled, dim=1)))
        views, findings, left = logits.split([len(VIEWS), len(KINDS), len(SIDED)], dim=1)
        return views, findings, left


def layer(before: int, width: int, stride: int) -> list[nn.Module]:
    """Convolution, batch norm, ReLU."""
    convolution = nn.Conv2d(before, width, 3, stride=stride, padding=1, bias=False)
    return [convolution, nn.BatchNorm2d(width), nn.ReLU()]


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
    """Each turned by up to 6 degrees, scaled and moved by up to 8%, other greys and noise; half the lots blurred."""
    device = images.device  # the generator's too
    random = torch.rand(7, len(images), generator=generator, device=device) * 2 - 1
    angle, scale = random[0] * math.radians(6), 1 + 0.08 * random[1]
    cosine, sine, dx, dy = scale * angle.cos(), scale * angle.sin(), 0.16 * random[2], 0.16 * random[3]
    affine = torch.stack([torch.stack([cosine, -sine, dx], 1), torch.stack([sine, cosine, dy], 1)], 1)
    grid = F.affine_grid(affine, list(images.shape), align_corners=False)
    images = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
    if torch.rand((), generator=generator, device=device) < 0.5:
        images = F.avg_pool2d(images, 3, stride=1, padding=1, count_include_pad=False)
    gain, offset, noise = (value[:, None, None, None] for value in random[4:])
    images = images * (1 + 0.15 * gain) + 0.1 * offset
    return images + 0.04 * noise * torch.randn(images.shape, generator=generator, device=device)


def mirror(images: Tensor, view: Tensor, left: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Half of the images flipped: a left lateral is then a right one, and what was on the left is on the right."""
    flipped = torch.rand(len(images), generator=generator, device=images.device) < 0.5
    other = torch.tensor([VIEWS.index({"LL": "RL", "RL": "LL"}.get(name, name)) for name in VIEWS], device=view.device)
    images = torch.where(flipped[:, None, None, None], images.flip(3), images)
    return images, torch.where(flipped, other[view], view), torch.where(flipped[:, None], 1 - left, left)


def train_classifier(folder: Path, rows: Sequence[Row], epochs: int, seed: int, batch: int = 32) -> Classifier:
    """Trained on rendered radiographs of `rows`, AdamW with one cycle of its rate."""
    torch.manual_seed(seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    generator = torch.Generator(device).manual_seed(seed)
    images = read_images(folder, [row["image"] for row in rows]).to(device)
    view, findings, left = (labels.to(device) for labels in truth(rows))
    model = Classifier().train().to(device)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.02)
    batch = min(batch, len(rows))
    steps = epochs * (len(rows) // batch)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=max(steps, 2))
    for epoch in range(epochs):
        order = torch.randperm(len(rows), generator=generator, device=device)
        for chosen in order[: len(rows) // batch * batch].split(batch):
            seen, seen_view, seen_left = mirror(images[chosen], view[chosen], left[chosen], generator)
            views, present, side = model(augment(seen, generator))
            known = ~seen_left.isnan()
            loss = F.cross_entropy(views, seen_view)
            loss = loss + 2 * F.binary_cross_entropy_with_logits(present, findings[chosen])
            if known.any():
                loss = loss + F.binary_cross_entropy_with_logits(side[known], seen_left[known])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            rate.step()
        print(f"classifier: epoch {epoch + 1} of {epochs}, loss {loss.item():.3f}", flush=True)
    return model.eval().cpu()


def save_classifier(model: Classifier, path: Path) -> None:
    """Its weights."""
    with atomic_path(path) as part:
        save_file(model.state_dict(), part)


def load_classifier(path: Path) -> Classifier:
    """What `save_classifier` wrote."""
    model = Classifier()
    model.load_state_dict(load_file(path))
    return model.eval()


@torch.no_grad()
def agreement(model: Classifier, images: Tensor, rows: Sequence[Row], seed: int) -> dict:
    """How far images show what `rows` ask for, by a classifier.

    views: the part whose likeliest view is the one asked for. findings: {kind: balanced accuracy at probability 1/2,
    the same and AUROC where the rows' labels are shuffled among the images (mean of 200 permutations), points = 100 *
    (balanced accuracy - shuffled balanced accuracy), AUROC}. sides: the part of frontal images, of those asked for a
    finding with a side, where that side is the likelier one, all and by finding.
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
    sides = {kind: float(right[known.nonzero()[:, 1] == k].float().mean()) for k, kind in enumerate(SIDED)}
    by_view = {
        name: round((views.argmax(1) == view)[view == i].float().mean().item(), 4) for i, name in enumerate(VIEWS)
    }
    return {
        "images": len(rows),
        "views": round((views.argmax(1) == view).float().mean().item(), 4),
        "by_view": by_view,
        "findings": findings,
        "mean_points": round(float(np.mean([one["points"] for one in findings.values()])), 1),
        "sides": {
            "asked": int(known.sum()),
            "right": round(right.float().mean().item(), 4),
            "by_finding": {kind: round(part, 4) for kind, part in sides.items()},
        },
    }


def balanced_accuracy(label: np.ndarray, said: np.ndarray) -> float:
    """Mean of sensitivity and specificity, (N,) bool each; NaN where one class is absent."""
    if label.all() or not label.any():
        return float("nan")
    return float((said[label].mean() + (~said[~label]).mean()) / 2)


@torch.no_grad()
def distances(model: Classifier, drawn: Tensor, rendered: Tensor) -> dict[str, float]:
    """Frechet and kernel distance between two sets of images (N, 1, S, S), in the means of the classifier's features.

    The classifier knows these radiographs, which Inception does not; its 96 means leave few images enough. Halves: the
    same between every other image of `rendered` and the rest, what sets of that size differ by when nothing is wrong.
    """
    one, other = (
        torch.cat([model.see(part)[1].mean((2, 3)) for part in images.split(64)]).numpy()
        for images in (drawn, rendered)
    )
    halves = other[::2], other[1::2]
    found = {"frechet": fid(other, one), "kernel": kid(other, one)[0]}
    found |= {"frechet_halves": fid(*halves), "kernel_halves": kid(*halves)[0]}
    return {name: round(value, 4) for name, value in found.items()}
