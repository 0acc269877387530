"""Fit the packaged model to a site: `radiolucent adapt PAIRS --out FOLDER`.

PAIRS: a folder in BS-LDM's layout (CXR/ and BS/ with images of the same names) of a site's own dual-energy pairs, two
to some hundreds; or two folders, --radiographs and --softs. A small network learns what the site's soft tissue lacks
beside the packaged model's answer, which stays as it is. The pairs that are held out say when to stop and what the
site gains; then all pairs train once more for as long. FOLDER is a pipeline for `radiolucent suppress --checkpoint`;
adaptation.json in it has the figures. Research use only.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

    from lightning_modules.data.adaptation import SitePair
    from lightning_modules.model_folder import Savable
    from radiographs import Pair
    from radiolucent.suppression.site_figures import Figures

FEWEST = 2
GRID = 128  # side in pixels on which a site's correction is learned
REPORT = "adaptation.json"


def add_arguments(parser: ArgumentParser) -> None:
    """Options of `radiolucent adapt`.

    Args:
        parser: Takes them.
    """
    parser.add_argument("pairs", type=str, nargs="?", help="folder with CXR/ and BS/")
    parser.add_argument("--radiographs", type=str, help="folder of radiographs, instead of PAIRS")
    parser.add_argument("--softs", type=str, help="folder of their soft-tissue images, of the same names")
    parser.add_argument(
        "--out", type=str, required=True, help="folder for the adapted model; must not exist, or be empty"
    )
    parser.add_argument("--checkpoint", type=str, help="model to start from (default: the packaged one)")
    parser.add_argument("--trust-remote-code", action="store_true", help="run code in its folder, as in suppress")
    parser.add_argument("--hold-out", type=int, help="pairs that are held out (default: a tenth, at least one)")
    parser.add_argument(
        "--refit",
        type=bool,
        default=True,
        help="train once more on all pairs, for as long as was best on those held out",
    )
    parser.add_argument("--steps", type=int, default=3000, help="most steps of each training")
    parser.add_argument("--minutes", type=float, default=4.0, help="most minutes of each training")
    parser.add_argument("--lr", type=float, default=2e-3, help="learning rate at the beginning")
    parser.add_argument(
        "--survival-weight", type=float, default=1.0, help="how much the signal counts that nodules lose; 0: not at all"
    )
    parser.add_argument("--workers", type=int, default=0, help="data processes")
    parser.add_argument("--seed", type=int, default=0, help="of the held-out pairs, the crops and the nodules")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto", help="where training runs")


def run(args: Namespace) -> int:
    """Adapt, report, and write the model.

    Args:
        args: As `add_arguments` reads them.

    Returns:
        0, or 1 if a pair was skipped.

    Raises:
        ValueError: The output folder holds something, the folders of pairs are swapped, or pairs, options or model are
            not fit for it.
    """
    import tempfile

    from lightning_modules.model_folder import replace_folder
    from radiolucent.device import choose_device
    from radiolucent.suppression.model import model_folder
    from radiolucent.suppression.site_check import refuse_swapped
    from radiolucent.suppression.site_figures import measure
    from radiolucent.suppression.site_training import Course, bone_of, new_site, prepare, starting_model, train

    pairs = find_site_pairs(args)
    out = Path(args.out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"--out {out}: it is there already and not empty; choose another folder")
    choose_held_out(len(pairs), args.hold_out, args.seed)  # a wrong number is refused before the pairs are read
    start = starting_model(model_folder(args.checkpoint), args.trust_remote_code)
    loaded, skipped = load_site_pairs(pairs)
    held = choose_held_out(len(loaded), args.hold_out, args.seed)
    aside = [loaded[place] for place in held]
    size = start.trained_size or GRID
    course = Course(
        steps=args.steps,
        minutes=args.minutes,
        lr=args.lr,
        survival_weight=args.survival_weight,
        workers=args.workers,
        seed=args.seed,
        device=choose_device(args.device),
        size=size,
        grid=min(GRID, size),
    )
    print(
        f"{len(loaded) - len(aside)} pairs to train on, {len(aside)} held out: {', '.join(pair.name for pair in aside)}"
    )
    refuse_swapped(bone_of(start), loaded, size)
    before = measure(start, aside, args.seed)
    with tempfile.TemporaryDirectory() as scratch:
        site = new_site(start, [pair for place, pair in enumerate(loaded) if place not in held], course)
        prepared = prepare(bone_of(start, site), loaded, course)
        training = [variants for place, variants in enumerate(prepared) if place not in held]
        best, steps = train(start, site, training, aside, course, Path(scratch) / "first")
        after = measure(best, aside, args.seed)
        if args.refit:
            print(f"once more on all {len(loaded)} pairs, for {steps} steps")
            best, _ = train(start, site, prepared, [], course, Path(scratch) / "all", steps)
    out.parent.mkdir(parents=True, exist_ok=True)
    replace_folder(cast("Savable", best), out)
    report = {
        "note": "Research use only. The figures are those of the pairs held out, before they were trained on.",
        "pairs": len(loaded),
        "skipped": skipped,
        "held_out": [pair.name for pair in aside],
        "steps": steps,
        "refitted_on_all": args.refit,
        "before": asdict(before),
        "after": asdict(after),
    }
    (out / REPORT).write_text(json.dumps(report, indent=1))
    show(before, after, len(aside))
    print(f"radiolucent suppress INPUT --checkpoint {out} --out DIR")
    return 1 if skipped else 0


def find_site_pairs(args: Namespace) -> list[Pair]:
    """The pairs that the command line names, checked.

    Args:
        args: As `add_arguments` reads them.

    Returns:
        Two pairs or more, in the order of their names.

    Raises:
        ValueError: No or two ways of naming them, fewer than two, images without a partner, or an option that is not
            above 0.
    """
    from radiographs import find_pairs
    from radiographs.pairs import RADIOGRAPHS, SOFTS

    two = args.radiographs is not None and args.softs is not None
    if (args.pairs is None) != two or (args.pairs is not None and (args.radiographs or args.softs)):
        raise ValueError("give PAIRS, a folder with CXR/ and BS/, or both --radiographs and --softs")
    folders = (args.radiographs, args.softs) if two else (Path(args.pairs) / RADIOGRAPHS, Path(args.pairs) / SOFTS)
    for name in ("steps", "minutes", "lr"):
        if args[name] <= 0:
            raise ValueError(f"--{name} {args[name]}: it must be more than 0")
    pairs = find_pairs(*folders)
    if len(pairs) < FEWEST:
        raise ValueError(f"{folders[0]}: {len(pairs)} pairs; at least {FEWEST} are needed, one of which is held out")
    return pairs


def load_site_pairs(pairs: Sequence[Pair]) -> tuple[list[SitePair], dict[str, str]]:
    """Read pairs; what is no pair is skipped and said.

    Args:
        pairs: Two or more.

    Returns:
        Those that can be used, and of each other one, by its name, why not.

    Raises:
        ValueError: Fewer than two can be used.
    """
    from lightning_modules.data.adaptation import load_site_pair

    loaded, skipped = [], {}
    for pair in pairs:
        try:
            loaded.append(load_site_pair(pair))
        except ValueError as error:
            skipped[pair.name] = str(error).removeprefix(f"{pair.name}: ")
            print(f"skipped {pair.name}: {skipped[pair.name]}", file=sys.stderr)
    if len(loaded) < FEWEST:
        raise ValueError(f"{len(loaded)} of {len(pairs)} pairs can be used; at least {FEWEST} are needed")
    return loaded, skipped


def choose_held_out(pairs: int, wanted: int | None, seed: int) -> list[int]:
    """Which pairs are held out.

    Args:
        pairs: How many there are.
        wanted: How many are held out; None: a tenth of them, at least one.
        seed: Of the choice.

    Returns:
        Their places, in order.

    Raises:
        ValueError: So many that fewer than one would train.
    """
    import numpy as np

    count = max(1, pairs // 10) if wanted is None else wanted
    if not 1 <= count < pairs:
        raise ValueError(f"--hold-out {count} of {pairs} pairs: give at least 1, and leave at least 1 to train on")
    return sorted(np.random.default_rng(seed).choice(pairs, count, replace=False).tolist())


def show(before: Figures, after: Figures, held_out: int) -> None:
    """Print what the model did before and what it does now, as a table.

    Args:
        before: Of the model that was started from.
        after: Of the adapted one.
        held_out: How many pairs both were measured on.
    """
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{held_out} pairs held out: gains over doing nothing, and {after.nodules} implanted nodules")
    for column in ("", "whole, dB", "lungs, dB", "nodules' signal kept", "keep 90%", "kept between the lungs"):
        table.add_column(column)
    for name, figures in (("before", before), ("adapted", after)):
        kept = (f"{share:.0%}" for share in (figures.kept, figures.kept_90, figures.kept_between))
        table.add_row(name, f"{figures.whole:+.2f}", f"{figures.lungs:+.2f}", *kept)
    Console().print(table)
