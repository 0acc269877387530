"""Public functions, methods and classes say in Google style what they take, give and raise."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("configs", "diffusion", "drr", "evaluation", "lightning_modules", "radiographs", "radiolucent", "vqgan")
Function = ast.FunctionDef | ast.AsyncFunctionDef


def lacking(source: str) -> Iterator[str]:
    """`name: section` of each section that a public docstring of a module lacks, or holds an item too few of."""
    yield from _of_body(ast.parse(source).body, "")


def _of_body(body: list[ast.stmt], inside: str) -> Iterator[str]:
    for node in body:
        if isinstance(node, Function) and not node.name.startswith("_"):
            yield from (f"{inside}{node.name}: {section}" for section in _of_function(node))
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from (f"{inside}{node.name}: {section}" for section in _of_class(node))
            yield from _of_body(node.body, f"{inside}{node.name}.")


def _of_function(node: Function) -> Iterator[str]:
    decorators = {_last_name(one) for one in node.decorator_list}
    if decorators & {"overload", "setter"}:
        return
    doc = ast.get_docstring(node) or ""
    yield from _undescribed(doc, "Args", _parameters(node))
    gives = node.returns is not None and ast.unparse(node.returns) not in ("None", "NoReturn")
    if gives and not decorators & {"property", "cached_property"} and not _sections(doc) & {"Returns", "Yields"}:
        yield "Returns"
    if _raised(node) - {"NotImplementedError"} and "Raises" not in _sections(doc):
        yield "Raises"


def _raised(node: ast.AST) -> set[str]:
    """Without what a decorated function inside raises: whoever it is registered with calls it."""
    found = {_last_name(node.exc)} if isinstance(node, ast.Raise) and node.exc is not None else set()
    inside = (one for one in ast.iter_child_nodes(node) if not (isinstance(one, Function) and one.decorator_list))
    return found.union(*map(_raised, inside))


def _of_class(node: ast.ClassDef) -> Iterator[str]:
    doc = ast.get_docstring(node) or ""
    made = next((one for one in node.body if isinstance(one, Function) and one.name == "__init__"), None)
    if made is not None:
        yield from _undescribed(f"{doc}\n{ast.get_docstring(made) or ''}", "Args", _parameters(made))
    elif "dataclass" in map(_last_name, node.decorator_list) or "NamedTuple" in map(_last_name, node.bases):
        fields = [one.target for one in node.body if isinstance(one, ast.AnnAssign)]
        names = [field.id for field in fields if isinstance(field, ast.Name) and not field.id.startswith("_")]
        yield from _undescribed(doc, "Args" if "Args" in _sections(doc) else "Attributes", names)


def _undescribed(doc: str, section: str, names: list[str]) -> Iterator[str]:
    """The section if it is missing, else each name that it does not describe."""
    if names and section not in _sections(doc):
        yield section
    elif names:
        heads = re.findall(
            r"^ +((?:\*{0,2}\w+, )*\*{0,2}\w+):", doc, re.MULTILINE
        )  # of one name, or several that go together
        described = {name.lstrip("*") for head in heads for name in head.split(", ")}
        yield from (f"{section}: {name}" for name in names if name not in described)


def _parameters(node: Function) -> list[str]:
    """Without self and cls, and what its name says is not used."""
    given = node.args
    named = [*given.posonlyargs, *given.args, *given.kwonlyargs, *filter(None, (given.vararg, given.kwarg))]
    return [one.arg for one in named if one.arg not in ("self", "cls") and not one.arg.startswith("_")]


def _sections(doc: str) -> set[str]:
    return {
        line[:-1] for line in doc.splitlines() if line in ("Args:", "Attributes:", "Returns:", "Yields:", "Raises:")
    }


def _last_name(node: ast.expr) -> str:
    """`c` of a decorator, a base or an exception written c, a.b.c or a.b.c(...)."""
    node = node.func if isinstance(node, ast.Call) else node
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


@pytest.mark.parametrize("room", ROOMS)
def test_public_docstrings_have_all_their_sections(room):
    paths = {str(path.relative_to(ROOT)): path for path in sorted((ROOT / room).rglob("*.py"))}
    assert paths, f"{room}/ has no modules"
    wrong = [f"{name}: {one}" for name, path in paths.items() for one in lacking(path.read_text())]
    assert not wrong, "\n".join(wrong)


BAD = '''
import abc
from dataclasses import dataclass

def plain(x: int) -> None: ...
def gives() -> int: "A number."
def takes_two(x: int, *, y: int) -> None:
    """Takes.

    Args:
        x: A number.
    """
def raises() -> None:
    "Raises."
    def inner(): raise ValueError
    inner()

@dataclass(frozen=True)
class Record:
    """A record."""
    size: int
    _kept: int

class Made:
    """Made."""
    def __init__(self, size: int) -> None: ...
    def get(self, key: str) -> str: "The value."
'''

GOOD = '''
from functools import cached_property

def full(x: int, *more: int, **_: int) -> int:
    """Adds.

    Args:
        x: A number.
        *more: More of them.

    Returns:
        Their sum.

    Raises:
        ValueError: None is given.
    """
    raise ValueError

def routes(app: App) -> None:
    """Add routes.

    Args:
        app: Takes them.
    """
    @app.get("/")
    def page():
        raise ValueError

def _private(x): raise ValueError

class Made:
    """Made.

    Args:
        width, height: In pixels.
    """
    def __init__(self, width: int, height: int) -> None: ...

    @cached_property
    def size(self) -> int:
        """Pixels."""

    def hook(self) -> None:
        """A subclass says it."""
        raise NotImplementedError
'''


def test_the_check_sees_what_is_missing():
    assert list(lacking(BAD)) == [
        "plain: Args",
        "gives: Returns",
        "takes_two: Args: y",
        "raises: Raises",
        "Record: Attributes",
        "Made: Args",
        "Made.get: Args",
        "Made.get: Returns",
    ]


def test_the_check_lets_whole_docstrings_pass():
    assert list(lacking(GOOD)) == []
