"""What an evaluation shows on the screen: progress bars and tables."""

from __future__ import annotations

from typing import Any


def finish(report: Any, out: str) -> None:
    """Write the report and show its tables, without the intervals, on the screen.

    Args:
        report: A `Report`, all of whose tables are shown, as wide as the screen allows.
        out: Folder for report.html and report.json, which is made.
    """
    from rich.console import Console

    from evaluation.reporting.cells import show
    from evaluation.reporting.report import write_report

    console = Console()
    for table in report.tables:
        lines = [[str(title) for title in table.columns], *([show(cell) for cell in row] for row in table.rows)]
        console.print(fitting(table.title, lines, console))
    html, data = write_report(report, out)
    print(f"report: {html} and {data}")


def fitting(title: str, lines: list[list[str]], console: Any) -> Any:
    """The lines, of which the first is the head, as a table as wide as the screen at most.

    One that is too wide is turned on its side where that makes it narrower, and else cut into tables that each begin
    with what its rows are named by: its first columns up to "method".

    Args:
        title: Of the table.
        lines: Cells, a list a line.
        console: Rich's, whose width counts.

    Returns:
        What the console can print.
    """
    from rich.console import Group
    from rich.measure import Measurement
    from rich.table import Table

    def table(lines: list[list[str]]) -> Any:
        shown = Table(title=title)
        for number, column in enumerate(lines[0]):
            shown.add_column(column, no_wrap=number > 0, min_width=None if number else 8)
        for line in lines[1:]:
            shown.add_row(*line)
        return shown

    def fits(lines: list[list[str]]) -> bool:
        return Measurement.get(console, console.options.update(max_width=10_000), table(lines)).maximum <= console.width

    turned = [list(line) for line in zip(*lines)]
    if fits(lines):
        return table(lines)
    if 1 < len(lines) < len(lines[0]) and fits(turned):
        return table(turned)
    named = lines[0].index("method") + 1 if "method" in lines[0] else 1
    parts = [turned[:named]]
    for column in turned[named:]:
        wider = [*parts[-1], column]
        if len(parts[-1]) > named and not fits([list(line) for line in zip(*wider)]):
            wider = [*turned[:named], column]
            parts.append(wider)
        else:
            parts[-1] = wider
    return Group(*(table([list(line) for line in zip(*part)]) for part in parts))


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
        """Move a bar, which is made at the first call.

        Args:
            what: Is being done.
            done: How many.
            total: Of how many.
        """
        if what not in self.tasks:
            self.tasks[what] = self.bars.add_task(what, total=total)
        self.bars.update(self.tasks[what], completed=done)
