"""`radiolucent evaluate privacy`: whether synthetic images are copies of training images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from radiolucent.commands.evaluate.common import extractors, reading, refuse_leak, settings
from radiolucent.commands.evaluate.console import Progress, finish


def run_privacy(args: Any) -> None:
    """Measure, and write the report with the worst offenders' picture.

    Args:
        args: As `add_privacy` reads them, with `out` and `device`.

    Raises:
        ValueError: Training and held-out images share a patient, or a set cannot be compared.
    """
    from evaluation.features.siamese import load_siamese
    from evaluation.inputs import read_set
    from evaluation.synthesis.privacy import PrivacyProtocol, evaluate_privacy

    sets = {name: read_set(args[name]) for name in ("synthetic", "train", "heldout") if args[name]}
    refuse_leak(args.patients, {name: images for name, images in sets.items() if name != "synthetic"})
    with Progress() as progress:
        protocol = PrivacyProtocol(
            features=extractors(args),
            siamese=args.siamese and load_siamese(args.siamese, args.siamese_transform),
            worst=args.worst,
            accept=args.accept,
            reading=reading(args, progress),
        )
        report, offenders = evaluate_privacy(
            sets["synthetic"], sets["train"], sets.get("heldout"), protocol, settings(args)
        )
    if offenders:
        report.pictures.append(offender_picture(offenders, args.out))
    finish(report, args.out)


def offender_picture(offenders: list[Any], out: str) -> Any:
    """The worst offenders beside their neighbours, as OUT/worst.png.

    Args:
        offenders: The worst first; each has files and the distance (RMS) to its nearest training image.
        out: Folder.

    Returns:
        The picture for the report, each image at 224 x 224.
    """
    from evaluation.reporting.montage import montage, to_grey
    from evaluation.reporting.report import Picture
    from radiographs import read_radiograph, resize

    def shown(path: Path) -> Any:
        return to_grey(resize(read_radiograph(path).pixels, (224, 224)))

    rows = [[shown(p) for p in (o.synthetic, o.train, o.heldout) if p] for o in offenders]
    titles = ["synthetic", "nearest training image", "nearest held-out image"][: len(rows[0])]
    path = montage(rows, titles, Path(out) / "worst.png", [f"RMS {o.distance:.3f}" for o in offenders])
    return Picture("Worst offenders beside their neighbours", path.read_bytes())
