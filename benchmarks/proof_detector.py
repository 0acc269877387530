"""What finds where findings lie in benchmarks.prompt_agreement: a CNN trained on rendered radiographs and masks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.proof_classifier import layer, read_images
from benchmarks.proof_data import Row
from radiographs.files import atomic_path
from radiographs.regions import Region, mask_region, parse_masks, parse_regions, region_map
from radiographs.vocabulary import FINDINGS

GRID = 48  # side of its maps: a quarter of the pictures'
SEEN = 0.2


class Detector(nn.Module):
    """forward((B, 1, 192, 192) in [-1, 1]) -> logits (B, 5, 48, 48) of a pixel being in a finding, by FINDINGS."""

    def __init__(self) -> None:
        super().__init__()
        self.fine = nn.Sequential(*layer(1, 24, 2), *layer(24, 48, 2), *layer(48, 48, 1))
        self.coarse = nn.Sequential(*layer(48, 72, 2), *layer(72, 96, 2), *layer(96, 128, 2), *layer(128, 128, 1))
        narrow = nn.Conv2d(48 + 72 + 128, 48, 1)
        self.join = nn.Sequential(narrow, nn.ReLU(), *layer(48, 48, 1), nn.Conv2d(48, len(FINDINGS), 1))

    def forward(self, images: Tensor) -> Tensor:
        mean, deviation = images.mean((2, 3), keepdim=True), images.std((2, 3), keepdim=True)
        fine = self.fine((images - mean) / deviation.clamp(min=1e-3))
        middle = self.coarse[:3](fine)
        found = [fine]
        for features in (middle, self.coarse[3:](middle)):
            found.append(F.interpolate(features, size=fine.shape[2:], mode="bilinear", align_corners=False))
        return self.join(torch.cat(found, dim=1))


def train_detector(data: Path, rows: Sequence[Row], epochs: int, seed: int, batch: int = 32) -> Detector:
    """Trained on the rendered radiographs of `rows`, AdamW with one cycle of its rate, flipped and in other greys."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    images = read_images(data / "CXR", [row["image"] for row in rows])
    maps = torch.stack([torch.from_numpy(region_map(parse_masks(row["masks"], data), GRID)).half() for row in rows])
    model = Detector().train()
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.02)
    batch = min(batch, len(rows))
    steps = epochs * (len(rows) // batch)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=max(steps, 2))
    for epoch in range(epochs):
        order = torch.randperm(len(rows), generator=generator)
        for chosen in order[: len(rows) // batch * batch].split(batch):
            seen, truth = images[chosen], maps[chosen].float()
            if torch.rand((), generator=generator) < 0.5:
                seen, truth = seen.flip(3), truth.flip(3)
            gain, offset, noise = (torch.rand(3, batch, 1, 1, 1, generator=generator) * 2 - 1).unbind()
            seen = seen * (1 + 0.2 * gain) + 0.2 * offset + 0.04 * noise * torch.randn(seen.shape, generator=generator)
            logits = model(seen)
            loss = F.binary_cross_entropy_with_logits(logits, truth) + dice_loss(logits, truth)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            rate.step()
        print(f"detector: epoch {epoch + 1} of {epochs}, loss {loss.item():.4f}", flush=True)
    return model.eval()


def dice_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """1 - Dice of each finding that is there, so that small ones count as much as large ones; 0 if none is."""
    there = truth.flatten(2).amax(2) > 0
    probabilities = logits.sigmoid()
    shared, both = (value.sum(dim=(2, 3)) for value in (probabilities * truth, probabilities + truth))
    return ((1 - 2 * shared / both.clamp(min=1e-6)) * there).sum() / there.sum().clamp(min=1)


def save_detector(model: Detector, path: Path) -> None:
    """Its weights."""
    with atomic_path(path) as part:
        save_file(model.state_dict(), part)


def load_detector(path: Path) -> Detector:
    """What `save_detector` wrote."""
    model = Detector()
    model.load_state_dict(load_file(path))
    return model.eval()


@torch.no_grad()
def placement(model: Detector, images: Tensor, rows: Sequence[Row], seed: int) -> dict:
    """How well the boxes of findings in images are those that `rows` ask for, by a detector.

    Of each finding: IoU of its box with that around the largest connected part in which the detector is at least half
    as sure as where it is surest (0 where that is less than SEEN). `iou` is their mean, `found` the part above 0.3,
    both all and by kind, and `shuffled_iou` the mean where every image is held against another row that asks for the
    finding.
    """
    probabilities = torch.cat([model(part).sigmoid() for part in images.split(64)]).numpy()
    random = np.random.default_rng(seed)
    asked = [{one.kind: one for one in parse_regions(row["boxes"])} for row in rows]
    result: dict = {"iou": {}, "found": {}, "shuffled_iou": {}, "asked": {}}
    every: list[float] = []
    for k, kind in enumerate(FINDINGS):
        wanted = [i for i, found in enumerate(asked) if kind in found]
        if len(wanted) < 2:
            continue
        peaks = probabilities[:, k].max(axis=(1, 2))
        seen = [largest(kind, probabilities[i, k] > max(SEEN, peaks[i]) / 2) for i in wanted]
        boxes = [asked[i][kind] for i in wanted]
        own = [iou(one, other) for one, other in zip(seen, boxes)]
        turn = int(random.integers(1, len(wanted)))  # no image keeps its own
        result["iou"][kind] = round(float(np.mean(own)), 3)
        result["found"][kind] = round(float(np.mean([value > 0.3 for value in own])), 3)
        result["shuffled_iou"][kind] = round(
            float(np.mean([iou(one, other) for one, other in zip(seen, boxes[turn:] + boxes[:turn])])), 3
        )
        result["asked"][kind] = len(wanted)
        every += own
    result["mean_iou"] = round(float(np.mean(every)), 3)
    result["mean_found"] = round(float(np.mean([value > 0.3 for value in every])), 3)
    return result


def largest(kind: str, mask: np.ndarray) -> Region | None:
    """The box around the largest connected part of a mask, bool (H, W); None for an empty one."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    if count < 2:
        return None
    return mask_region(kind, labels == 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax()))


def iou(one: Region | None, other: Region) -> float:
    """Intersection over union of two boxes; 0 without the first."""
    if one is None:
        return 0.0
    (a1, b1, a2, b2), (c1, d1, c2, d2) = one.box, other.box
    shared = max(0.0, min(a2, c2) - max(a1, c1)) * max(0.0, min(b2, d2) - max(b1, d1))
    return shared / ((a2 - a1) * (b2 - b1) + (c2 - c1) * (d2 - d1) - shared)
