"""Remove the bones from radiographs: `radiolucent suppress INPUT... --out DIR [--checkpoint DIR]`.

INPUT: files, or folders that are searched, of PNG, TIFF, JPEG or DICOM radiographs, 8 to 16 bit, any size and aspect.
Each result has its input's size, depth and format (JPEG becomes PNG, so that nothing is lost twice). Research use only.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from radiolucent.batch.input_notes import tell_left_out, tell_warnings
from radiolucent.batch.runner import Task, add_batch_arguments, file_identity, run_batch
from radiolucent.device import choose_device
from radiolucent.precision import bfloat16_time
from radiolucent.suppression.file_work import SuppressFiles, SuppressFilesInStages, load_suppressor, output_names
from radiolucent.suppression.model import PACKAGED, PRECISIONS, checkpoint_digest, find_masks

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

MODEL_NAMES = ("model", "device", "trust_remote_code")  # the model counts by its digest; the others change no image


def add_arguments(parser: ArgumentParser) -> None:
    """Options of `radiolucent suppress`.

    Args:
        parser: Takes them.
    """
    from radiographs.for_suppression import POLARITIES

    parser.add_argument("inputs", type=str, nargs="+", help="radiographs, or folders of them")
    parser.add_argument(
        "--checkpoint",
        type=str,
        help="folder of a saved pipeline, or its OWNER/NAME on the Hugging Face hub (default: the packaged model)",
    )
    parser.add_argument("--model", choices=list(PACKAGED), help="a packaged model by name, instead of --checkpoint")
    parser.add_argument(
        "--trust-remote-code",
        action="store_true",
        help="run code that lies in the model's folder; for models whose class is not Radiolucent's: read it first",
    )
    parser.add_argument(
        "--strength",
        type=float,
        default=1.0,
        help="multiplies what is taken away: 0 nothing, 1 as the model and the image ask, at most 2",
    )
    parser.add_argument(
        "--estimate-strength",
        type=bool,
        default=True,
        help="read off each image how strongly it shows bones, for models that record how (said in the manifest)",
    )
    add_batch_arguments(parser)
    parser.add_argument(
        "--compose",
        choices=["subtract", "direct"],
        default="subtract",
        help="subtract takes the predicted bone away from the original at its own resolution, so that detail stays; "
        "direct writes what the model draws",
    )
    parser.add_argument("--steps", type=int, help="sampling steps (default: as the model records; some have none)")
    parser.add_argument("--seed", type=int, default=0, help="of the sampling noise, the same for every image")
    parser.add_argument(
        "--samples",
        type=int,
        default=1,
        help="average N answers, and write their standard deviation as NAME_std.png: of a model that samples, or, of "
        "any other, for the image in slightly other sizes and tones",
    )
    parser.add_argument(
        "--size",
        type=int,
        help="longest side the model sees, in pixels (default: as in training); above --tile it sees overlapping "
        "tiles, blended at every step",
    )
    parser.add_argument("--tile", type=int, help="side of these tiles, in pixels (default: the size of training)")
    parser.add_argument(
        "--lungs",
        type=str,
        help="GL-LCM's second path in the lungs, fused with the first: a folder of masks named as the inputs, or "
        "'auto'; for a model trained on lungs alone besides whole radiographs",
    )
    parser.add_argument("--strip", action="store_true", help="also write strips/NAME.png: before, after, bone")
    parser.add_argument(
        "--self-test",
        action="store_true",
        help="also put nodules of 8, 12 and 20 mm into each radiograph, suppress it again, and write "
        "selftest/NAME.png and .csv: what of them would have survived where (takes 12 times as long)",
    )
    parser.add_argument("--keep-identity", action="store_true", help="DICOM: keep the patient and the study")
    parser.add_argument(
        "--polarity",
        choices=list(POLARITIES),
        default="auto",
        help="the model is for bright bones and dark lungs, as films are hung. auto: a negative (dark bones) is turned "
        "before and back after where that is sure, and warned about where it is likely; positive: nothing is turned; "
        "negative: every image is. This is about what is shown: a DICOM file's MONOCHROME1 is followed in any case",
    )
    parser.add_argument(
        "--batch",
        type=int,
        default=1,
        help="radiographs that the network sees in one call: faster on a GPU, not on a CPU. With more than one, "
        "a pixel can differ by one grey level, by rounding",
    )
    parser.add_argument(
        "--precision",
        choices=list(PRECISIONS),
        default="float32",
        help="of the network's arithmetic, for regressions such as the packaged model. bfloat16 takes half the time on "
        "a processor that has it (AVX-512 BF16, AMX), many times as long on others, and changes an answer by a "
        "thousandth of the grey range at most",
    )
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto", help="where the model runs")


def run(args: Namespace) -> int:
    """Suppress every input.

    Args:
        args: As `add_arguments` reads them.

    Returns:
        0, or 1 if any was skipped (see errors.csv).

    Raises:
        ValueError: Options that the model cannot take, inputs whose results would clash, or a folder of other settings;
            all before anything is written.
        OSError: No such model or input.
    """
    from radiographs.dicom.deidentify import KEY_NAME

    if args.model is not None and args.checkpoint is not None:
        raise ValueError(f"--model {args.model} and --checkpoint {args.checkpoint}: give one of them")
    if args.batch < 1:
        raise ValueError(f"--batch {args.batch}: it must be 1 or more")
    model = suppressor_options(args)
    suppressor = load_suppressor(*model)  # a wrong checkpoint is refused before the batch
    if args.precision == "bfloat16" and choose_device(args.device) == "cpu" and bfloat16_time() > 1:
        print("radiolucent: note: bfloat16 takes longer than float32 on this processor", file=sys.stderr)
    found = find_inputs(args.inputs, args.out)
    masks = find_masks(suppressor.pipeline, args.lungs, [name for _, name in found])
    options = {name: args[name] for name in ("strip", "keep_identity", "polarity")}
    settings = {
        "command": "suppress",
        "checkpoint": checkpoint_digest(suppressor.folder),
        "lungs": args.lungs,
        **{
            name: value
            for name, value in model
            if name not in MODEL_NAMES and (name, value) != ("precision", "float32")
        },
        **options,
        **({"self_test": True} if args.self_test else {}),  # not among the settings of folders that lack it, nor these
        **({} if args.batch == 1 else {"batch": args.batch}),
        "steps": suppressor.steps,
        "size": suppressor.size,
        "tile": suppressor.tile,
    }
    kind = SuppressFiles if args.self_test else SuppressFilesInStages
    work = kind(args.out, model, self_test=args.self_test, batch=args.batch, **options)
    tasks = [
        Task(
            name,
            (str(path), name, mask),
            tuple(output_names(name, args.samples, args.strip, args.self_test)),
            file_identity(path, mask=mask if mask in (None, "auto") else file_identity(mask)),
            shown=str(path),
        )
        for (path, name), mask in zip(found, masks)
    ]
    refuse_clashes(tasks)
    status = run_batch(
        work,
        tasks,
        args.out,
        settings=settings,
        tables=() if args.keep_identity else (KEY_NAME,),
        workers=args.workers,
        executor=args.executor,
        title="radiographs",
    )
    tell_warnings(args.out, {task.key: task.name for task in tasks})
    return status


def refuse_clashes(tasks: list[Task]) -> None:
    """Refuse radiographs of which two would write the same file: a result, a strip, a standard deviation.

    Args:
        tasks: Of the batch, with their outputs.

    Raises:
        ValueError: Names the first two and the file.
    """
    homes: dict[str, Task] = {}
    for task in tasks:
        for name in task.outputs:
            other = homes.setdefault(name, task)
            if other is not task:
                raise ValueError(
                    f"{other.shown} and {task.shown} would both be written as {name}: rename one, or give them in two "
                    "runs with an --out each"
                )


def suppressor_options(args: Namespace) -> tuple[tuple[str, Any], ...]:
    """The options of `Suppressor` that a command line gives, as pairs that can be sent to another process.

    Args:
        args: As `add_arguments` reads them; --checkpoint comes before --model.

    Returns:
        (name, value) of every keyword argument of `Suppressor`.
    """
    names = ("device", "compose", "seed", "samples", "strength", "steps", "size", "tile", "precision")
    given = ((name, args[name]) for name in names)
    return (
        ("model", args.checkpoint or args.model),
        *given,
        ("estimate", args.estimate_strength),
        ("trust_remote_code", args.trust_remote_code),
    )


def find_inputs(inputs: list[str], out: str) -> list[tuple[Path, str]]:
    """(file, name of its result in `out`) for each input file and each radiograph in an input folder, by content.

    How many files were left out is printed.

    Args:
        inputs: Files, which are taken whatever they hold, and folders, which are searched at any depth.
        out: Folder of the results.

    Returns:
        Inputs in the order given; the names keep the subfolders of an input folder.

    Raises:
        FileNotFoundError: No such input.
        ValueError: A folder without radiographs, a result that would lie on its input, or an `out` among the inputs.
    """
    from radiographs import FORMATS
    from radiographs.kinds import output_name, radiographs_in

    found, left_out = [], []
    for given in map(Path, inputs):
        if given.is_file():
            found.append((given, given.name))
        elif given.is_dir():
            if Path(out).resolve().is_relative_to(given.resolve()):
                raise ValueError(f"--out {out} lies in the input folder {given}: choose a folder outside")
            images, others = radiographs_in(given)
            if not images:
                raise ValueError(f"{given}: no radiographs ({', '.join(FORMATS)}) in this folder")
            found += [(path, str(path.relative_to(given))) for path in images]
            left_out += others
        else:
            raise FileNotFoundError(f"{given}: there is no such file or folder")
    tell_left_out(left_out)
    named = [(path, output_name(path, name)) for path, name in found]
    for path, name in named:
        if (Path(out) / name).resolve() == path.resolve():
            raise ValueError(f"--out {out} would overwrite {path}: choose another folder")
    return named
