"""Evaluate bone suppression or synthesis: report.html, report.json and CSV files in --out."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from radiolucent.device import choose_device

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser


def add_arguments(parser: ArgumentParser) -> None:
    """The protocols' options, as subcommands.

    Args:
        parser: Takes them.
    """
    from jsonargparse import ArgumentParser as Parser

    protocols = parser.add_subcommands(dest="protocol")
    for name, add in {**PROTOCOLS, **{old: PROTOCOLS[new] for old, new in RENAMED.items()}}.items():
        about = f"The old name of `{RENAMED[name]}`." if name in RENAMED else (add.__doc__ or "").partition("\n")[0]
        child = Parser(description=about, exit_on_error=False, allow_abbrev=False)
        child.add_argument("--config", action="config", help="a YAML file with these options")
        child.add_argument("--out", type=str, required=True, help="folder for the report")
        child.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
        add(child)
        protocols.add_subcommand(name, child)


def add_suppression(parser: ArgumentParser) -> None:
    """Bone suppression against true soft-tissue images, beside doing nothing and a blur.

    Args:
        parser: Of the subcommand.
    """
    parser.add_argument("--pred", type=list[str], default=[], help="suppressed images: DIR or NAME=DIR; repeat")
    model = (
        "a saved pipeline's folder or hub name, or 'packaged', as [NAME=]DIR; suppresses --input, and nodules in it; "
        "repeat"
    )
    parser.add_argument("--checkpoint", type=list[str], default=[], help=model)
    parser.add_argument("--nodules", type=int, default=12, help="implanted into each radiograph for each --checkpoint")
    add_model(parser)
    parser.add_argument("--truth", type=str, required=True, help="true soft-tissue images of the same names")
    parser.add_argument("--input", type=str, required=True, help="radiographs of the same names")
    resize = "bring --pred of another size (of the same aspect) to the truth's, instead of refusing it"
    parser.add_argument("--resize", action="store_true", help=resize)
    parser.add_argument("--lungs", type=str, default="auto", help="'auto', a folder of lung masks, or 'none'")
    parser.add_argument("--lesions", type=str | None, default=None, help="known findings: masks, or a CSV of boxes")
    parser.add_argument(
        "--lpips", type=str | None, default=None, help="VGG-16 weights (.safetensors or .pth) for LPIPS"
    )
    parser.add_argument("--patients", type=str | None, default=None, help="regular expression of the patient in a name")
    parser.add_argument("--blur-sigma", type=float | None, default=None, help="baseline blur in pixels; default W/256")
    parser.add_argument("--legacy", action="store_true", help="add the published, wrapping numbers")
    parser.add_argument(
        "--lpips-alex", type=str | None, default=None, help="AlexNet weights, for the published LPIPS in --legacy"
    )


def add_nodules(parser: ArgumentParser) -> None:
    """Whether nodules, vessels and devices survive suppression, in rendered bodies and in given radiographs.

    Args:
        parser: Of the subcommand.
    """
    model = "a saved pipeline's folder, or OWNER/NAME on the Hugging Face hub; default: the packaged model"
    parser.add_argument("--checkpoint", type=str | None, default=None, help=model)
    bodies = "each with 24 nodules (6 diameters x 2 x 2), vessels and devices; 0 with --radiographs: none"
    parser.add_argument("--bodies", type=int, default=20, help=bodies)
    parser.add_argument("--ct", type=str | None, default=None, help="CT that the bodies are of; default: the sample CT")
    parser.add_argument("--ct-labels", type=str | None, default=None, help="its label map, with lungs and vertebrae")
    given = "folder of radiographs, or one, into which nodules are implanted"
    parser.add_argument("--radiographs", type=str | None, default=None, help=given)
    parser.add_argument("--nodules", type=int, default=24, help="implanted into each of --radiographs")
    parser.add_argument("--size", type=int, default=256, help="side of the rendered radiographs in pixels")
    add_model(parser)


def add_model(parser: ArgumentParser) -> None:
    """How a model suppresses, in the protocols that run one.

    Args:
        parser: Of a subcommand.
    """
    parser.add_argument("--model-size", type=int | None, default=None, help="side that the model sees, as in suppress")
    parser.add_argument("--compose", choices=["subtract", "direct"], default="subtract", help="as in suppress")
    parser.add_argument("--steps", type=int | None, default=None, help="sampling steps, as in suppress")
    parser.add_argument(
        "--trust-remote-code", action="store_true", help="run code in the model's folder, as in suppress"
    )
    parser.add_argument("--seed", type=int, default=0, help="of bodies, views, looks and places, and of the sampling")


def add_reading(parser: ArgumentParser) -> None:
    """How images are read, in the protocols that extract features.

    Args:
        parser: Of a subcommand.
    """
    parser.add_argument(
        "--accept", type=list[str], default=[], help="take a set with mixed 'sizes' or 'polarity'; repeat"
    )
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--workers", type=int, default=0, help="processes that decode images")


def add_features(parser: ArgumentParser) -> None:
    """Which networks' features are compared.

    Args:
        parser: Of a subcommand.
    """
    networks = "[NAME=]TorchScript file, Hugging Face folder, hf://owner/name or inception:WEIGHTS; repeat"
    parser.add_argument("--features", type=list[str], default=[], help=networks)
    parser.add_argument("--transform", type=list[str], default=[], help="[NAME=]input of a TorchScript network; repeat")


def add_synthesis(parser: ArgumentParser) -> None:
    """Synthetic against real radiographs: distributions, text, labels and views.

    Args:
        parser: Of the subcommand.
    """
    parser.add_argument("--real", type=str, required=True, help="folder, or CSV that names images")
    parser.add_argument(
        "--real-root", type=str | None, default=None, help="folder of the CSV's images; default its own"
    )
    parser.add_argument("--synthetic", type=str, required=True, help="folder of the synthetic images")
    parser.add_argument("--prompts", type=str | None, default=None, help="CSV of the synthetic images (CheXGenBench's)")
    add_features(parser)
    parser.add_argument("--k", type=int, default=5, help="neighbours in precision, recall, density, coverage")
    parser.add_argument("--radiomics", action="store_true", help="add the distance of this project's texture features")
    parser.add_argument("--frd", action="store_true", help="add the Frechet Radiomic Distance (needs pyradiomics)")
    parser.add_argument("--by-finding", action="store_true", help="FID, KID, ... of the images of each class besides")
    clip = "CLIP: a Hugging Face folder or hf://owner/name; open_clip's folder or hf-hub:owner/name"
    parser.add_argument("--clip", type=str | None, default=None, help=clip)
    parser.add_argument("--descriptors", type=str | None, default=None, help="JSON {finding: [observation, ...]}")
    parser.add_argument("--classifier", type=str | None, default=None, help="TorchScript network that gives logits")
    parser.add_argument("--classes", type=list[str], default=[], help="its classes in order; default CheXpert's 14")
    parser.add_argument("--view-classifier", type=str | None, default=None, help="TorchScript network of views")
    parser.add_argument("--views", type=list[str], default=["PA", "AP", "LATERAL"], help="its classes in order")
    parser.add_argument("--classifier-transform", type=str, default="torchxrayvision", help="input of both classifiers")
    parser.add_argument("--empty-labels", choices=["unknown", "negative"], default="unknown")
    models = "RadGraph's entities: radgraph, radgraph-xl, modern-radgraph-xl, or a folder of that name"
    parser.add_argument("--radgraph", type=str | None, default=None, help=models)
    parser.add_argument("--reports-column", type=str, default="report", help="of --prompts, to compare entities with")
    parser.add_argument("--extra-info", type=str, default="", help="CheXGenBench's column 'Extra Info'")
    add_reading(parser)


def add_privacy(parser: ArgumentParser) -> None:
    """Whether synthetic images are copies of training images.

    Args:
        parser: Of the subcommand.
    """
    parser.add_argument("--synthetic", type=str, required=True, help="folder, or CSV that names images")
    parser.add_argument("--train", type=str, required=True, help="training images: folder or CSV")
    parser.add_argument("--heldout", type=str | None, default=None, help="other real images: folder or CSV")
    parser.add_argument("--patients", type=str | None, default=None, help="regular expression of the patient in a name")
    add_features(parser)
    siamese = "TorchScript network (a, b) -> logit, or CheXGenBench's re-identification checkpoint"
    parser.add_argument("--siamese", type=str | None, default=None, help=siamese)
    parser.add_argument(
        "--siamese-transform", type=str | None, default=None, help="its input; default imagenet or unit"
    )
    parser.add_argument("--worst", type=int, default=12, help="offenders to list and show")
    add_reading(parser)


def add_utility(parser: ArgumentParser) -> None:
    """Train a classifier on real, synthetic and both, and test it on real images.

    Args:
        parser: Of the subcommand.
    """
    parser.add_argument("--real", type=str, required=True, help="CSV of real training images with labels")
    parser.add_argument("--synthetic", type=str, required=True, help="CSV of synthetic images with labels")
    parser.add_argument("--test", type=str, required=True, help="CSV of real test images with labels")
    parser.add_argument("--classes", type=list[str], default=[], help="labels to learn; default CheXpert's 14")
    parser.add_argument("--model", type=str, default="resnet18", help="a timm model")
    parser.add_argument("--weights", type=str | None, default=None, help="its .safetensors to start from")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--steps", type=int, default=2000, help="training steps, the same for each training set")
    parser.add_argument("--learning-rate", type=float, default=1e-4)
    parser.add_argument("--empty-labels", choices=["unknown", "negative"], default="unknown")
    parser.add_argument("--patients", type=str | None, default=None, help="regular expression of the patient in a name")
    parser.add_argument("--seed", type=int, default=0)
    add_reading(parser)


def add_views(parser: ArgumentParser) -> None:
    """Which view each picture shows (PA, AP, LL, RL, other), and the one asked for; turned pictures, negatives.

    Args:
        parser: Of the subcommand.
    """
    parser.add_argument("--images", type=str, required=True, help="folder, or CSV that names images")
    parser.add_argument("--root", type=str | None, default=None, help="folder of the CSV's images; default its own")
    parser.add_argument("--column", type=str, default="view", help="of the CSV, with the view that was asked for")
    parser.add_argument("--classifier", type=str | None, default=None, help="folder of benchmarks.train_views' model")


PROTOCOLS = {
    "suppression": add_suppression,
    "nodules": add_nodules,
    "synthesis": add_synthesis,
    "privacy": add_privacy,
    "utility": add_utility,
    "views": add_views,
}


RENAMED = {"lesions": "nodules"}  # protocols by their old names, which are accepted until version 0.3
WRITTEN = (
    "report.html",
    "report.json",
    "scores.csv",
    "gains.csv",
    "nodules.csv",
    "views.csv",
    "images.html",
    "examples.png",
    "worst.png",
    "image_generation_metrics.csv",
    "img_text_alignment.csv",
    "conditional_image_generation_metrics.csv",
    "conditional_img_text_alignment.csv",
)


def refuse_foreign(out: Path) -> None:
    """Refuse an output folder whose files an evaluation would overwrite, though no evaluation wrote them.

    Args:
        out: The folder; it need not exist.

    Raises:
        ValueError: It holds a file of a name that evaluations write, and no report of an earlier evaluation.
    """
    from radiographs.files import read_json

    there = [name for name in WRITTEN if (out / name).exists()]
    if not there:
        return
    try:
        ours = {"title", "settings", "tables"} <= read_json(out / "report.json").keys()
    except (ValueError, OSError):
        ours = False
    if not ours:
        raise ValueError(f"--out {out} holds {there[0]}, which no evaluation wrote: choose another --out")


def run(args: Any) -> int:
    """Evaluate by one protocol; bad inputs are refused with the list in --out/refused.txt.

    Args:
        args: As `add_arguments` reads them; the protocol's own options lie below its name.

    Returns:
        0.

    Raises:
        ValueError: Inputs that cannot be compared, or an --out with files of something else.
        OSError: A folder or file is missing.
    """
    from radiographs import atomic_path
    from radiographs.folders import BadInputs
    from radiolucent.commands.evaluate.protocols import RUN

    chosen, protocol = args[args.protocol], RENAMED.get(args.protocol, args.protocol)
    if protocol != args.protocol:
        print(f"radiolucent: note: evaluate {args.protocol} is now called evaluate {protocol}", file=sys.stderr)
    chosen.device = choose_device(chosen.device)
    refuse_foreign(Path(chosen.out))
    try:
        RUN[protocol](chosen)
    except BadInputs as error:
        listed = Path(chosen.out) / "refused.txt"
        with atomic_path(listed) as part:
            part.write_text("\n".join(error.problems) + "\n", encoding="utf-8")
        raise ValueError(f"{error}; the whole list is in {listed}") from None
    return 0
