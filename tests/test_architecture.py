"""Imports run one way: radiolucent -> lightning_modules -> evaluation -> the four rooms, never upwards or sideways."""

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


def imported(source: str) -> set[str]:
    """Top-level names of all packages that a module imports, at any depth of its code."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module.split(".")[0])
    return names


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
