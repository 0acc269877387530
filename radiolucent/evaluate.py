"""Evaluate bone suppression or synthesis: report.html, report.json and CSV files in --out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser


def add_arguments(parser: ArgumentParser) -> None:
    """The protocols' options, as subcommands."""
    from jsonargparse import ArgumentParser as Parser

    protocols = parser.add_subcommands(dest="protocol")
    for name, add in PROTOCOLS.items():
        child = Parser(description=add.__doc__, exit_on_error=False, allow_abbrev=False)
        child.add_argument("--config", action="config", help="a YAML file with these options")
        child.add_argument("--out", type=str, required=True, help="folder for the report")
        child.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
        add(child)
        protocols.add_subcommand(name, child)


def add_suppression(parser: ArgumentParser) -> None:
    """Bone suppression against true soft-tissue images, beside doing nothing and a blur."""
    parser.add_argument("--pred", type=list[str], required=True, help="suppressed images: DIR or NAME=DIR; repeat")
    parser.add_argument("--truth", type=str, required=True, help="true soft-tissue images of the same names")
    parser.add_argument("--input", type=str, required=True, help="radiographs of the same names")
    parser.add_argument("--lungs", type=str | None, default=None, help="folder of lung masks, or 'auto'")
    parser.add_argument("--lesions", type=str | None, default=None, help="known findings: masks, or a CSV of boxes")
    parser.add_argument(
        "--lpips", type=str | None, default=None, help="VGG-16 weights (.safetensors or .pth) for LPIPS"
    )
    parser.add_argument("--patients", type=str | None, default=None, help="regular expression of the patient in a name")
    parser.add_argument("--blur-sigma", type=float | None, default=None, help="baseline blur in pixels; default W/256")
    parser.add_argument("--legacy", action="store_true", help="add the published, wrapping numbers")


def run_suppression(args: Any) -> None:
    from evaluation.suppression_protocol import SuppressionProtocol, evaluate_suppression
    from evaluation.suppression_report import add_sliders, suppression_report, write_scores
    from radiographs.splits import patients_from_names

    methods = named_folders(args.pred)
    network = None
    if args.lpips:
        from vqgan.perceptual import load_perceptual

        network = load_perceptual(args.lpips).to(args.device)
    with progress("images") as advance:
        protocol = SuppressionProtocol(
            args.lungs, args.lesions, network, args.blur_sigma, args.legacy, args.device, advance
        )
        result = evaluate_suppression(methods, args.truth, args.input, protocol)
    groups = None
    if args.patients:
        patients = patients_from_names(result.names, args.patients)
        groups = [patients[name] for name in result.names]
    report = suppression_report(result, settings(args), groups)
    for name, folder in methods.items():
        add_sliders(report, result, name, folder, args.input)
    write_scores(result, Path(args.out) / "scores.csv")
    finish(report, args.out)


PROTOCOLS = {"suppression": add_suppression}
RUN = {"suppression": run_suppression}


def run(args: Any) -> int:
    """Evaluate; bad inputs are refused with the list in --out/refused.txt."""
    import torch

    from evaluation.inputs import BadInputs
    from radiographs import atomic_path

    chosen = args[args.protocol]
    if chosen.device == "auto":
        chosen.device = "cuda" if torch.cuda.is_available() else "cpu"
    if chosen.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device cuda: no CUDA device was found; use --device cpu")
    try:
        RUN[args.protocol](chosen)
    except BadInputs as error:
        listed = Path(chosen.out) / "refused.txt"
        with atomic_path(listed) as part:
            part.write_text("\n".join(error.problems) + "\n", encoding="utf-8")
        raise ValueError(f"{error}; the whole list is in {listed}") from None
    return 0


def named_folders(given: list[str]) -> dict[str, str]:
    """`NAME=DIR` or `DIR` -> {name: folder}, the name of a plain folder being its last part."""
    pairs = [
        (name, folder) if mark else (Path(name).name, name) for name, mark, folder in (g.partition("=") for g in given)
    ]
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names):
        raise ValueError(f"--pred names {', '.join(names)}: give each method its own name, as NAME=DIR")
    return dict(pairs)


def settings(args: Any) -> dict[str, Any]:
    """The options as the report shows them."""
    return {name: value for name, value in args.as_dict().items() if name != "config" and value is not None}


def finish(report: Any, out: str) -> None:
    """Write the report and show its tables, without the intervals, on the screen."""
    from rich.console import Console
    from rich.table import Table

    from evaluation.report import show, write_report

    console = Console()
    for table in report.tables:
        shown = Table(title=table.title)
        for column in table.columns:
            shown.add_column(column)
        for row in table.rows:
            shown.add_row(*(show(cell) for cell in row))
        console.print(shown)
    html, data = write_report(report, out)
    print(f"report: {html} and {data}")


class progress:
    """A progress bar; inside `with`, call it with (done, total)."""

    def __init__(self, title: str) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
        self.bar = Progress(*columns)
        self.task = self.bar.add_task(title, total=None)

    def __enter__(self) -> progress:
        self.bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.stop()

    def __call__(self, done: int, total: int) -> None:
        self.bar.update(self.task, completed=done, total=total)
