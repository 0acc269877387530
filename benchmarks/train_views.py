"""Train the packaged view classifier: `python -m benchmarks.train_views --ct CT.nii.gz ... --held-out CT.nii.gz --out DIR`.

Radiographs of the packaged CT and of the given ones, bent into other bodies, are cast from behind, in front, both sides
and obliquely, and shown in many looks; besides there are slices, crops and patterns that are no radiograph. Pictures are
turned by quarters and made negatives at random. One JSON line: accuracies on the bodies of the CT that was held out.
"""  # noqa: E501

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.nn import functional as F

from drr import ConeBeam, Look, Volume, deform, project, read_ct, render_pair, sample_ct
from drr.anatomy.chest import lung_box
from drr.anatomy.tissue import prepare
from drr.appearance.film import add_collimator, add_letters, quantum_noise
from drr.geometry import VIEWS, body_box
from evaluation.views.classifier import CLASSES, TURNS, ViewNet, save_view_net, to_ranks

PIXELS = 128
COARSE_MM = 2.5
POSES = {"PA": 7, "AP": 7, "LL": 4, "RL": 4, "other": 6}  # of each body
Cast = tuple[str, np.ndarray, np.ndarray, float]  # class, soft, bone, pixel_mm


def read_body(path: str | None) -> Volume:
    """A CT on a grid of about 2.5 mm, its table gone and its bone known."""
    volume = sample_ct() if path is None else read_ct(path)
    steps = np.maximum(1, np.rint(COARSE_MM / volume.spacing)).astype(int)
    if steps.max() > 1:
        x, y, z = steps
        depth, height, width = (n // s * s for n, s in zip(volume.hu.shape, (z, y, x)))
        blocks = volume.hu[:depth, :height, :width].astype(np.float32)
        blocks = blocks.reshape(depth // z, z, height // y, y, width // x, x).mean(axis=(1, 3, 5))
        affine = volume.affine.copy()
        affine[:3, 3] += affine[:3, :3] @ ((steps - 1) / 2)
        affine[:3, :3] *= steps
        volume = Volume(np.rint(blocks).astype(np.int16), affine, source=volume.source)
    return prepare(volume)


def cast_body(body: Volume, rng: np.random.Generator) -> Iterator[Cast]:
    """Line integrals of one body from all sides."""
    low, high = lung_box(body)
    around = body_box(body)
    for name, count in POSES.items():
        for _ in range(count):
            view = name if name != "other" else str(rng.choice(("PA", "AP", "LL", "RL")))
            across = max(float(abs(np.array(VIEWS[view].right)) @ (high - low)), high[2] - low[2])
            width = across + rng.uniform(-30, 120)
            beam = ConeBeam.preset(view, body, (PIXELS, PIXELS), width, around, (low + high) / 2)
            turn = rng.uniform(-9, 9) if name != "other" else rng.choice((-1, 1)) * rng.uniform(25, 60)
            tip = rng.uniform(-8, 8)
            if name == "other" and rng.random() < 0.25:
                turn, tip = rng.uniform(-9, 9), rng.choice((-1, 1)) * rng.uniform(40, 85)
            moved = np.eye(4)
            moved[:3, 3] = rng.uniform(-18, 18, 3)
            beam = beam.orbit(turn).orbit(tip, axis=(1, 0, 0)).moved(moved)
            soft, bone = project(body, [beam], ("soft", "bone"), "cpu")[0].numpy()
            yield name, soft.astype(np.float16), bone.astype(np.float16), width / PIXELS


def show(cast: Cast, rng: np.random.Generator) -> np.ndarray:
    """A look of a cast, with noise, letters and borders now and then, cropped and tilted a little: float32 (H, W)."""
    _, soft, bone, pixel_mm = cast
    soft, bone = soft.astype(np.float32), bone.astype(np.float32)
    image = render_pair(soft, bone, Look.random(rng), pixel_mm)[0]
    image = image + quantum_noise(soft + bone, rng.uniform(0.005, 0.05), 0.6, rng)
    if rng.random() < 0.5:
        (image,) = add_letters([image], pixel_mm, rng)
    if rng.random() < 0.4:
        (image,) = add_collimator([image], rng)
    turn = cv2.getRotationMatrix2D((PIXELS / 2, PIXELS / 2), rng.uniform(-6, 6), rng.uniform(0.95, 1.1))
    image = cv2.warpAffine(image, turn, (PIXELS, PIXELS), borderMode=cv2.BORDER_REPLICATE)
    height, width = (round(PIXELS * rng.uniform(0.82, 1)) for _ in range(2))
    top, left = (int(rng.integers(0, PIXELS - n + 1)) for n in (height, width))
    return image[top : top + height, left : left + width]


def no_radiograph(body: Volume, casts: Sequence[Cast], rng: np.random.Generator) -> np.ndarray:
    """A slice of the CT, a small part of a radiograph, or a pattern."""
    kind = rng.integers(4)
    if kind < 2:
        axis = int(rng.integers(3))
        place = int(body.hu.shape[axis] * rng.uniform(0.2, 0.8))
        section = np.take(body.hu, place, axis).astype(np.float32)
        section = section[::-1] if axis else section
        low, high = ((-1000, 400), (-200, 300))[rng.integers(2)]
        return section.clip(low, high)
    if kind == 2:
        image = show(casts[int(rng.integers(len(casts)))], rng)
        side = round(min(image.shape) * rng.uniform(0.2, 0.4))
        top, left = (int(rng.integers(0, n - side)) for n in image.shape)
        return image[top : top + side, left : left + side]
    grain = cv2.GaussianBlur(rng.standard_normal((PIXELS, PIXELS)).astype(np.float32), (0, 0), rng.uniform(0.3, 30))
    return grain / grain.std() + rng.uniform(-3, 3) * np.linspace(-1, 1, PIXELS, dtype=np.float32)[:, None]


def make_set(path: str | None, bodies: int, looks: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(ranks float16 (N, 96, 96), classes (N,)) of one CT's bodies."""
    rng, own = np.random.default_rng(seed), read_body(path)
    ranks, classes = [], []
    for n in range(bodies):
        body = own if n == 0 else deform(own, int(rng.integers(2**31)), amplitude_mm=8, scale=0.12)
        casts = list(cast_body(body, rng))
        for cast in casts:
            for _ in range(looks):
                ranks.append(to_ranks(show(cast, rng)).astype(np.float16))
                classes.append(CLASSES.index(cast[0]))
        for _ in range(4 * looks):
            ranks.append(to_ranks(no_radiograph(body, casts, rng)).astype(np.float16))
            classes.append(CLASSES.index("other"))
    return np.stack(ranks), np.array(classes)


def disturb(ranks: torch.Tensor, views: torch.Tensor, rng: np.random.Generator) -> tuple[torch.Tensor, ...]:
    """A batch with pictures turned by quarters, negatives, and laterals mirrored: (ranks, views, turns, negative)."""
    count = len(ranks)
    turns = np.where(rng.random(count) < 0.3, rng.integers(0, 4, count), 0)
    negative = rng.random(count) < 0.25
    mirrored = (rng.random(count) < 0.5) & np.isin(views.numpy(), [CLASSES.index("LL"), CLASSES.index("RL")])
    swap = {CLASSES.index("LL"): CLASSES.index("RL"), CLASSES.index("RL"): CLASSES.index("LL")}
    out, named = ranks.clone(), views.clone()
    for n in range(count):
        if mirrored[n]:
            out[n], named[n] = out[n].flip(-1), swap[int(views[n])]
        if turns[n]:
            out[n] = torch.rot90(out[n], int(turns[n]), (-2, -1))
        if negative[n]:
            out[n] = -out[n]
    return out, named, torch.from_numpy(turns), torch.from_numpy(negative).float()


def train(ranks: np.ndarray, classes: np.ndarray, epochs: int, seed: int, batch: int = 64) -> ViewNet:
    """AdamW with one cycle of its rate."""
    torch.manual_seed(seed)
    rng, model, batch = np.random.default_rng(seed), ViewNet().train(), min(batch, len(ranks))
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.03)
    steps = epochs * (len(ranks) // batch)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    for _ in range(epochs):
        order = rng.permutation(len(ranks))[: len(ranks) // batch * batch].reshape(-1, batch)
        for chosen in order:
            seen = torch.from_numpy(ranks[chosen].astype(np.float32))[:, None]
            pictures, views, turns, negative = disturb(seen, torch.from_numpy(classes[chosen]), rng)
            by_view, by_turn, by_sign = model(pictures)
            upright = views != CLASSES.index("other")  # which way up a slice or a pattern lies has no answer
            loss = F.cross_entropy(by_view, views, label_smoothing=0.02)
            loss = loss + 0.5 * F.cross_entropy(by_turn[upright], turns[upright])
            loss = loss + 0.5 * F.binary_cross_entropy_with_logits(by_sign[upright], negative[upright])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            rate.step()
    return model.eval()


def accuracies(model: ViewNet, ranks: np.ndarray, classes: np.ndarray, seed: int) -> dict[str, float]:
    """Parts that are right: of each view, of frontal against lateral, of turns and negatives."""
    views = torch.from_numpy(classes)
    with torch.inference_mode():
        seen = torch.from_numpy(ranks.astype(np.float32))[:, None]
        found = model(seen)[0].argmax(1)
        pictures, named, turns, negative = disturb(seen, views, np.random.default_rng(seed))
        by_view, by_turn, by_sign = model(pictures)
    upright = named != CLASSES.index("other")
    kinds = torch.tensor([0, 0, 1, 2, 3])  # PA and AP are one
    right = {name: float((found[views == n] == n).float().mean()) for n, name in enumerate(CLASSES)}
    right["all"] = float((found == views).float().mean())
    right["PA and AP as one"] = float((kinds[found] == kinds[views]).float().mean())
    right["disturbed"] = float((kinds[by_view.argmax(1)] == kinds[named]).float().mean())
    right["turn"] = float((by_turn.argmax(1) == turns)[upright].float().mean())
    right["negative"] = float(((by_sign > 0).float() == negative)[upright].float().mean())
    return {name: round(value, 4) for name, value in right.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ct", nargs="*", default=[], help="CTs to train on besides the packaged one")
    parser.add_argument("--held-out", help="a CT that is only measured on; default: other bodies of the packaged one")
    parser.add_argument("--bodies", type=int, default=7, help="of each CT")
    parser.add_argument("--looks", type=int, default=4, help="of each pose")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, help="folder of the model")
    options = parser.parse_args()
    start = time.process_time()
    torch.set_num_threads(1)
    parts = [
        make_set(path, options.bodies, options.looks, options.seed + n) for n, path in enumerate([None, *options.ct])
    ]
    ranks, classes = (np.concatenate(part) for part in zip(*parts))
    rendered = time.process_time() - start
    model = train(ranks, classes, options.epochs, options.seed)
    held_ranks, held_classes = make_set(options.held_out, 3, 2, options.seed + 1000)
    right = accuracies(model, held_ranks, held_classes, options.seed)
    save_view_net(model, options.out, {"trained_on": len(ranks), "seed": options.seed, "held_out": right})
    line = {"pictures": len(ranks), "held_out": len(held_ranks), "turns": list(TURNS), **right}
    line |= {"cpu_seconds": round(time.process_time() - start), "of_them_rendering": round(rendered)}
    print(json.dumps(line))


if __name__ == "__main__":
    main()
