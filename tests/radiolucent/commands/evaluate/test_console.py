"""Tables on the screen."""

from __future__ import annotations

import io

from rich.console import Console

from radiolucent.commands.evaluate.console import fitting


def shown(lines: list[list[str]], width: int) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(fitting("Title", lines, console))
    return console.file.getvalue()


def test_a_table_too_wide_either_way_is_cut_into_tables_that_name_their_rows():
    head = ["nodules", "method", *(f"a measure {n}" for n in range(9))]
    lines = [head, *([f"{mm} mm", "suppressed", *(f"{mm}.{n}00" for n in range(9))] for mm in range(12))]
    text = shown(lines, 80)
    assert "…" not in text and max(map(len, text.splitlines())) <= 80
    for cell in {cell for line in lines for cell in line}:
        assert cell in text
    assert text.count("suppressed") == 12 * text.count("Title") and text.count("Title") > 1
    assert shown(lines, 200).count("Title") == 1


def test_a_wide_table_of_few_lines_is_turned():
    lines = [["nodules", *(f"a measure {n}" for n in range(9))], ["all", *(f"{n}.000" for n in range(9))]]
    text = shown(lines, 40)
    assert "…" not in text and text.count("Title") == 1 and "a measure 8" in text
