"""What `radiolucent evaluate` does with its options, one function a protocol."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from radiolucent.commands.evaluate.nodules import run_nodules


def run_suppression(args: Any) -> None:
    from evaluation.nodules.implant_report import write_implants
    from evaluation.suppression.comparison_pages import ComparisonPages, page_name
    from evaluation.suppression.gain_report import write_gains
    from evaluation.suppression.legacy_lpips import load_alexnet
    from evaluation.suppression.protocol import SuppressionProtocol, evaluate_suppression
    from evaluation.suppression.report import add_sliders, suppression_report, write_scores
    from radiographs.splits import patients_from_names
    from radiolucent.commands.evaluate.model import load_suppressor

    methods = named_folders(args.pred)
    if not methods and not args.checkpoint:
        raise ValueError("nothing to evaluate: give --pred [NAME=]FOLDER, or --checkpoint [NAME=]FOLDER, or both")
    if args.nodules < 0:
        raise ValueError(f"--nodules {args.nodules}: give 0 (none) or more")
    models = {name: load_suppressor(args, folder) for name, folder in named_folders(args.checkpoint).items()}
    network = None
    if args.lpips:
        from vqgan.perceptual import load_perceptual

        network = load_perceptual(args.lpips).to(args.device)
    if args.lpips_alex and not args.legacy:
        raise ValueError("--lpips-alex is for the published LPIPS: add --legacy, or give VGG-16 weights with --lpips")
    pages = ComparisonPages(args.out, [*methods, *models])
    with Progress() as progress, pages:
        protocol = SuppressionProtocol(
            lungs=None if args.lungs == "none" else args.lungs,
            lesions=args.lesions,
            perceptual=network,
            blur_sigma=args.blur_sigma,
            legacy=args.legacy,
            alexnet=load_alexnet(args.lpips_alex).to(args.device) if args.lpips_alex else None,
            device=args.device,
            nodules=args.nodules,
            seed=args.seed,
            resize=args.resize,
            show=pages,
            progress=partial(progress, "images"),
        )
        result = evaluate_suppression(methods, args.truth, args.input, protocol, models)
    groups = None
    if args.patients:
        patients = patients_from_names(result.names, args.patients)
        groups = [patients[name] for name in result.names]
    report = suppression_report(result, settings(args), groups)
    for name, folder in methods.items():
        add_sliders(report, result, name, folder, args.input)
    report.links.append(("Every image under a slider, with all methods to choose from", page_name(1)))
    write_scores(result, Path(args.out) / "scores.csv")
    write_gains(result, Path(args.out) / "gains.csv")
    if result.implants:
        write_implants(result.implants, Path(args.out) / "nodules.csv")
    finish(report, args.out)


def run_synthesis(args: Any) -> None:
    from evaluation.features.clip import DESCRIPTORS, Clip
    from evaluation.features.labels import CHEXPERT, load_classifier
    from evaluation.inputs import read_set
    from evaluation.synthesis.chexgenbench import write_benchmark_files
    from evaluation.synthesis.protocol import SynthesisProtocol, evaluate_synthesis
    from evaluation.synthesis.radgraph import load_radgraph
    from radiographs.files import read_json

    real = read_set(args.real, args.real_root)
    synthetic = read_set(args.prompts, args.synthetic) if args.prompts else read_set(args.synthetic)
    classes = args.classes or list(CHEXPERT)
    descriptors = read_json(args.descriptors) if args.descriptors else DESCRIPTORS
    with Progress() as progress:
        protocol = SynthesisProtocol(
            features=extractors(args),
            k=args.k,
            radiomics=args.radiomics,
            frd=args.frd,
            by_finding=args.by_finding,
            clip=Clip(args.clip, args.device) if args.clip else None,
            descriptors=descriptors,
            classifier=args.classifier and load_classifier(args.classifier, args.classifier_transform, classes),
            classes=classes,
            view_classifier=args.view_classifier
            and load_classifier(args.view_classifier, args.classifier_transform, args.views),
            views=args.views,
            radgraph=args.radgraph and load_radgraph(args.radgraph, args.device),
            reports_column=args.reports_column,
            missing=args.empty_labels,
            accept=args.accept,
            reading=reading(args, progress),
        )
        report = evaluate_synthesis(real, synthetic, protocol, settings(args))
    finish(report, args.out)
    write_benchmark_files(report.data, args.out, args.extra_info)


def run_privacy(args: Any) -> None:
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
    """The worst offenders beside their neighbours, as OUT/worst.png."""
    from evaluation.reporting.montage import montage, to_grey
    from evaluation.reporting.report import Picture
    from radiographs import read_radiograph, resize

    def shown(path: Path) -> Any:
        return to_grey(resize(read_radiograph(path).pixels, (224, 224)))

    rows = [[shown(p) for p in (o.synthetic, o.train, o.heldout) if p] for o in offenders]
    titles = ["synthetic", "nearest training image", "nearest held-out image"][: len(rows[0])]
    path = montage(rows, titles, Path(out) / "worst.png", [f"RMS {o.distance:.3f}" for o in offenders])
    return Picture("Worst offenders beside their neighbours", path.read_bytes())


def run_utility(args: Any) -> None:
    from evaluation.features.labels import CHEXPERT
    from evaluation.inputs import read_set
    from evaluation.synthesis.utility import UtilityProtocol, evaluate_utility

    real, synthetic, test = (read_set(source) for source in (args.real, args.synthetic, args.test))
    patients = refuse_leak(args.patients, {"real": real, "test": test})
    with Progress() as progress:
        protocol = UtilityProtocol(
            classes=args.classes or list(CHEXPERT),
            model=args.model,
            weights=args.weights,
            size=args.size,
            steps=args.steps,
            learning_rate=args.learning_rate,
            missing=args.empty_labels,
            accept=args.accept,
            seed=args.seed,
            reading=reading(args, progress),
        )
        groups = [patients[name] for name in test.names] if patients else None
        report = evaluate_utility(real, synthetic, test, protocol, settings(args), groups)
    finish(report, args.out)


RUN = {
    "suppression": run_suppression,
    "nodules": run_nodules,
    "synthesis": run_synthesis,
    "privacy": run_privacy,
    "utility": run_utility,
}


def named_folders(given: list[str]) -> dict[str, str]:
    """`NAME=PATH` or `PATH` -> {name: path}, the name of a plain path being its last part."""
    pairs = [
        (name, folder) if mark else (Path(name).name, name) for name, mark, folder in (g.partition("=") for g in given)
    ]
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names):
        raise ValueError(f"{', '.join(names)}: give each its own name, as NAME=PATH")
    return dict(pairs)


def extractors(args: Any) -> dict[str, Any]:
    """--features by name, each with its --transform."""
    from evaluation.features.networks import load_extractor

    transforms = dict(text.split("=", 1) if "=" in text else ("", text) for text in args.transform)
    sources = named_folders(args.features)
    unknown = sorted(set(transforms) - set(sources) - {""})
    if unknown:
        raise ValueError(f"--transform names {', '.join(unknown)}, which --features does not: {', '.join(sources)}")
    return {n: load_extractor(s, transforms.get(n, transforms.get(""))) for n, s in sources.items()}


def reading(args: Any, progress: Progress) -> Any:
    """How images are read; features are kept in OUT/features."""
    from evaluation.features.extract import Reading

    return Reading(args.batch_size, args.workers, args.device, Path(args.out) / "features", progress)


def refuse_leak(pattern: str | None, sets: dict[str, Any]) -> dict[str, str]:
    """{name: patient} by the pattern, after refusing patients who are in two sets; empty without a pattern."""
    from radiographs.splits import patients_from_names, refuse_overlap

    if pattern is None:
        return {}
    found: dict[str, str] = {}
    for images in sets.values():
        found |= patients_from_names([str(path) for path in images.paths.values()], pattern)
    refuse_overlap({n: [str(path) for path in images.paths.values()] for n, images in sets.items()}, found)
    return {name: found[str(path)] for images in sets.values() for name, path in images.paths.items()}


def settings(args: Any) -> dict[str, Any]:
    """The options as the report shows them."""
    return {name: value for name, value in args.as_dict().items() if name != "config" and value is not None}


def finish(report: Any, out: str) -> None:
    """Write the report and show its tables, without the intervals, on the screen."""
    from rich.console import Console

    from evaluation.reporting.report import show, write_report

    console = Console()
    for table in report.tables:
        lines = [[str(title) for title in table.columns], *([show(cell) for cell in row] for row in table.rows)]
        console.print(fitting(table.title, lines, console))
    html, data = write_report(report, out)
    print(f"report: {html} and {data}")


def fitting(title: str, lines: list[list[str]], console: Any) -> Any:
    """The lines, of which the first is the head, as a table; turned on its side where it is too wide for the screen."""
    from rich.measure import Measurement
    from rich.table import Table

    def table(lines: list[list[str]]) -> Any:
        shown = Table(title=title)
        for number, column in enumerate(lines[0]):
            shown.add_column(column, no_wrap=number > 0, min_width=None if number else 8)
        for line in lines[1:]:
            shown.add_row(*line)
        return shown

    shown = table(lines)
    wide = Measurement.get(console, console.options.update(max_width=10_000), shown).maximum > console.width
    return table([list(line) for line in zip(*lines)]) if wide and 1 < len(lines) < len(lines[0]) else shown


class Progress:
    """Progress bars inside `with`: called with what is being done, how many are done, and of how many."""

    def __init__(self) -> None:
        from rich import progress

        columns = progress.TextColumn("{task.description}"), progress.BarColumn(), progress.MofNCompleteColumn()
        self.bars = progress.Progress(*columns, progress.TimeRemainingColumn())
        self.tasks: dict[str, Any] = {}

    def __enter__(self) -> Progress:
        self.bars.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.bars.stop()

    def __call__(self, what: str, done: int, total: int) -> None:
        if what not in self.tasks:
            self.tasks[what] = self.bars.add_task(what, total=total)
        self.bars.update(self.tasks[what], completed=done)
