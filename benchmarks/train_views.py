"""Train the packaged view classifier: `python -m benchmarks.train_views --ct CT.nii.gz ... --held-out CT.nii.gz --out DIR`.

Radiographs of the packaged CT and of the given ones, bent into other bodies, are cast from behind, in front, both sides
and obliquely, and shown in many looks (`benchmarks.view_pictures`); besides there are slices, crops and patterns that are
no radiograph. Pictures are turned by quarters and made negatives at random. One JSON line: accuracies on the bodies of
the CT that was held out, and the part of its frontals that `radiolucent suppress` would warn of.
"""  # noqa: E501

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from benchmarks.view_pictures import make_set
from evaluation.views.classifier import CLASSES, TURNS, ViewNet, load_view_net, save_view_net

HELD_OUT_SEED = 1000  # whatever --seed is, so that two models are measured on the same pictures
PA_OR_AP = 0.5  # weight of telling PA from AP, beside telling frontal from lateral from other
KINDS = torch.tensor([0, 0, 1, 2, 3])  # of CLASSES: PA and AP are one


def disturb(ranks: torch.Tensor, views: torch.Tensor, rng: np.random.Generator) -> tuple[torch.Tensor, ...]:
    """A batch with pictures turned by quarters, negatives, and mirrored ones: (ranks, views, turns, negative).

    A mirrored lateral is the other lateral; a mirrored frontal stays what it is.
    """
    count = len(ranks)
    turns = np.where(rng.random(count) < 0.3, rng.integers(0, 4, count), 0)
    negative = rng.random(count) < 0.25
    lateral = np.isin(views.numpy(), [CLASSES.index("LL"), CLASSES.index("RL")])
    mirrored = rng.random(count) < np.where(lateral, 0.5, 0.2)
    swap = {CLASSES.index("LL"): CLASSES.index("RL"), CLASSES.index("RL"): CLASSES.index("LL")}
    out, named = ranks.clone(), views.clone()
    for n in range(count):
        if mirrored[n]:
            out[n], named[n] = out[n].flip(-1), swap.get(int(views[n]), int(views[n]))
        if turns[n]:
            out[n] = torch.rot90(out[n], int(turns[n]), (-2, -1))
        if negative[n]:
            out[n] = -out[n]
    return out, named, torch.from_numpy(turns), torch.from_numpy(negative).float()


def zoom(ranks: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """A batch (N, 1, H, W) shifted by up to 6%, zoomed and squeezed by up to 12%."""
    count = len(ranks)
    matrix = np.zeros((count, 2, 3), np.float32)
    matrix[:, 0, 0], matrix[:, 1, 1] = np.exp(rng.uniform(-0.12, 0.08, (2, count)))
    matrix[:, :, 2] = rng.uniform(-0.12, 0.12, (count, 2))
    grid = F.affine_grid(torch.from_numpy(matrix), list(ranks.shape), align_corners=False)
    return F.grid_sample(ranks, grid, padding_mode="border", align_corners=False)


def loss_of(outputs: tuple[torch.Tensor, ...], targets: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """Cross entropies of the kind of view, of PA or AP given a frontal one, of the turn and of the sign.

    Nobody tells PA from AP for sure, so that a full weight would teach the network the training bodies by heart.
    """
    (by_view, by_turn, by_sign), (views, turns, negative) = outputs, targets
    kinds = torch.stack([by_view[:, :2].logsumexp(1), *by_view[:, 2:].unbind(1)], dim=1)
    loss = F.cross_entropy(kinds, KINDS[views], label_smoothing=0.02)
    frontal, upright = views < 2, views != CLASSES.index("other")  # which way up a slice or a pattern lies: no answer
    if frontal.any():
        loss = loss + PA_OR_AP * F.cross_entropy(by_view[frontal, :2], views[frontal], label_smoothing=0.1)
    loss = loss + 0.5 * F.cross_entropy(by_turn[upright], turns[upright])
    return loss + 0.5 * F.binary_cross_entropy_with_logits(by_sign[upright], negative[upright])


def train(
    ranks: np.ndarray,
    classes: np.ndarray,
    epochs: int,
    seed: int,
    start: ViewNet | None = None,
    highest_rate: float = 3e-3,
    batch: int = 64,
) -> ViewNet:
    """AdamW with one cycle of its rate, from random weights or those of `start`."""
    torch.manual_seed(seed)
    rng, batch = np.random.default_rng(seed), min(batch, len(ranks))
    model = (ViewNet() if start is None else start).train()
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.03)
    steps = epochs * (len(ranks) // batch)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, highest_rate, total_steps=steps)
    for _ in range(epochs):
        order = rng.permutation(len(ranks))[: len(ranks) // batch * batch].reshape(-1, batch)
        for chosen in order:
            seen = torch.from_numpy(ranks[chosen].astype(np.float32))[:, None]
            pictures, *targets = disturb(zoom(seen, rng), torch.from_numpy(classes[chosen]), rng)
            loss = loss_of(model(pictures), tuple(targets))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            rate.step()
    return model.eval()


def accuracies(model: ViewNet, ranks: np.ndarray, classes: np.ndarray, seed: int) -> dict[str, float]:
    """Parts that are right: of each view, of frontal against lateral, of turns and negatives; parts that are sure."""
    views = torch.from_numpy(classes)
    with torch.inference_mode():
        seen = torch.from_numpy(ranks.astype(np.float32))[:, None]
        found = named_view(model(seen)[0])
        pictures, named, turns, negative = disturb(seen, views, np.random.default_rng(seed))
        by_view, by_turn, by_sign = model(pictures)
    upright = named != CLASSES.index("other")
    right = {name: float((found[views == n] == n).float().mean()) for n, name in enumerate(CLASSES)}
    right["all"] = float((found == views).float().mean())
    right["PA and AP as one"] = float((KINDS[found] == KINDS[views]).float().mean())
    right["frontal"] = float((found[views < 2] < 2).float().mean())
    right["disturbed"] = float((KINDS[named_view(by_view)] == KINDS[named]).float().mean())
    right["turn"] = float((by_turn.argmax(1) == turns)[upright].float().mean())
    right["negative"] = float(((by_sign > 0).float() == negative)[upright].float().mean())
    return {name: round(value, 4) for name, value in right.items()}


def named_view(by_view: torch.Tensor) -> torch.Tensor:
    """Places in CLASSES (B,) by logits (B, 5): the kind first, then PA or AP, as `judge_views` does."""
    views = by_view.softmax(1)
    frontal = views[:, :2].sum(1) > views[:, 2:].amax(1)
    return torch.where(frontal, views[:, :2].argmax(1), 2 + views[:, 2:].argmax(1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ct", nargs="*", default=[], help="CTs to train on besides the packaged one")
    parser.add_argument("--held-out", help="a CT that is only measured on; default: other bodies of the packaged one")
    parser.add_argument("--bodies", type=int, default=7, help="of each CT")
    parser.add_argument("--looks", type=int, default=5, help="of each pose")
    parser.add_argument("--epochs", type=int, default=14)
    parser.add_argument("--seed", type=int, nargs="+", default=[0], help="of the pictures: a set for each")
    parser.add_argument("--start", type=Path, help="a model to begin with")
    parser.add_argument("--rate", type=float, default=3e-3, help="the highest learning rate")
    parser.add_argument("--out", type=Path, required=True, help="folder of the model")
    options = parser.parse_args()
    began = time.process_time()
    torch.set_num_threads(1)
    parts = [
        make_set(path, options.bodies, options.looks, seed + n)
        for seed in options.seed
        for n, path in enumerate([None, *options.ct])
    ]
    ranks, classes = (np.concatenate(part) for part in zip(*parts))
    rendered = time.process_time() - began
    start = load_view_net(options.start) if options.start else None
    model = train(ranks, classes, options.epochs, options.seed[-1], start, options.rate)
    held_ranks, held_classes = make_set(options.held_out, 6, 2, HELD_OUT_SEED)
    right = accuracies(model, held_ranks, held_classes, HELD_OUT_SEED)
    save_view_net(model, options.out, {"trained_on": len(ranks), "seed": options.seed, "held_out": right})
    line = {"pictures": len(ranks), "held_out": len(held_ranks), "turns": list(TURNS), **right}
    line |= {"cpu_seconds": round(time.process_time() - began), "of_them_rendering": round(rendered)}
    print(json.dumps(line))


if __name__ == "__main__":
    main()
