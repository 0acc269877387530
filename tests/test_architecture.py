"""Imports run one way: radiolucent -> lightning_modules -> evaluation -> the four rooms, never upwards or sideways.

Two modules are every room's: radiographs/vocabulary.py holds the words that they share, and imports nothing;
radiographs/lungs.py finds the lungs, in an image that is given and in a network's that asks where it is.
Inside a room no import goes in a circle, and no file is longer than 300 lines.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = {"vqgan", "diffusion", "drr", "radiographs"}
MAY_IMPORT = {room: {room} for room in ROOMS} | {
    "configs": {"configs"},
    "evaluation": ROOMS | {"evaluation"},
    "lightning_modules": ROOMS | {"evaluation", "lightning_modules"},
    "radiolucent": ROOMS | {"evaluation", "lightning_modules", "radiolucent", "configs"},
}


SHARED = ("radiographs.vocabulary", "radiographs.lungs")
LINES = 300


def named(source: str) -> set[str]:
    """All that a module's imports name, at any depth of its code: modules, and module.name of what is taken of them."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def imported(source: str) -> set[str]:
    """Top-level names of all packages that a module imports, but for the shared modules."""
    shared = tuple(f"{module}." for module in SHARED)
    return {name.split(".")[0] for name in named(source) if not f"{name}.".startswith(shared)}


def modules(package: str) -> dict[str, Path]:
    """A room's modules by their dotted names."""
    paths = sorted((ROOT / package).rglob("*.py"))
    return {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in paths}


def circle(imports: dict[str, set[str]]) -> list[str]:
    """The modules of a circle of imports, in order; empty without one."""
    done: set[str] = set()

    def follow(module: str, trail: list[str]) -> list[str]:
        if module in trail:
            return [*trail[trail.index(module) :], module]
        if module in done:
            return []
        found = next((c for other in sorted(imports[module]) if (c := follow(other, [*trail, module]))), [])
        done.add(module)
        return found

    return next((found for module in sorted(imports) if (found := follow(module, []))), [])


@pytest.mark.parametrize("package", sorted(MAY_IMPORT))
def test_imports_run_only_downwards(package):
    files = sorted((ROOT / package).rglob("*.py"))
    assert files, f"{package}/ has no modules"
    wrong = {
        str(path.relative_to(ROOT)): sorted(upwards)
        for path in files
        if (upwards := (imported(path.read_text()) & MAY_IMPORT.keys()) - MAY_IMPORT[package])
    }
    assert not wrong, f"imports that run upwards or sideways: {wrong}"


def test_the_check_sees_a_wrong_import():
    assert imported("def f():\n    from lightning_modules.x import y\n    import drr.projection.ray as r") == {
        "lightning_modules",
        "drr",
    }


def test_the_check_lets_the_shared_modules_pass_and_nothing_else_of_their_room():
    assert imported("from radiographs.lungs import lung_mask") == set()
    assert imported("from radiographs.vocabulary import VIEWS\nfrom radiographs import vocabulary") == set()
    assert imported("from radiographs import io") == {"radiographs"}
    assert not named((ROOT / "radiographs/vocabulary.py").read_text()) - {"__future__.annotations"}


@pytest.mark.parametrize("package", sorted(MAY_IMPORT))
def test_no_circle_inside_a_room(package):
    inside = modules(package)
    imports: dict[str, set[str]] = {}
    for module, path in inside.items():
        if path.name != "__init__.py":  # which re-exports
            names = named(path.read_text())
            imports[module] = {n if n in inside else n.rpartition(".")[0] for n in names} & inside.keys() - {module}
    imports = {module: others & imports.keys() for module, others in imports.items()}
    assert not circle(imports), " -> ".join(circle(imports))


def test_the_check_sees_a_circle():
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_no_file_is_longer_than_300_lines():
    long = {name: n for room in MAY_IMPORT for name, path in modules(room).items() if (n := lines(path)) > LINES}
    assert not long, f"split by algorithm: {long}"


def lines(path: Path) -> int:
    return len(path.read_text().splitlines())
