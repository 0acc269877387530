"""The command line: light help, one-line errors, lists on the command line and in YAML."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys

import pytest
from jsonargparse import ArgumentParser

from radiolucent.cli import COMMANDS, dispatch, gather_lists, list_options, main


def run(*words: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "radiolucent", *words], capture_output=True, text=True, timeout=120)


def test_help_names_every_command_and_imports_nothing_heavy():
    script = "import sys; from radiolucent.cli import dispatch; dispatch(['--help']); print('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert all(command in result.stdout for command in COMMANDS)
    assert result.stdout.strip().endswith("False")


@pytest.mark.parametrize("module", sorted({module for module, _ in COMMANDS.values()} - {"fit"}))
def test_help_shows_no_object_of_python_and_refers_to_what_describes(module):
    parser = ArgumentParser()
    importlib.import_module(f"radiolucent.commands.{module}").add_arguments(parser)
    todo = [parser]
    for one in todo:
        todo += [sub for action in one._actions if isinstance(action.choices, dict) for sub in action.choices.values()]
        said = one.format_help()
        assert not re.search(r"<function|<lambda|<class|object at|0x[0-9a-f]{6}|see\s+README", said)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["reconstruct"], "unknown command 'reconstruct': choose one of demo, drr"),
        (["fit", "--config", "missing.yaml"], "File does not exist"),
        (["suppress", "missing.png", "--out", "x", "--checkpont", "y"], "did you mean --checkpoint?"),
    ],
)
def test_bad_input_is_one_line_and_exit_status_2(words, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run(*words)
    assert result.returncode == 2
    assert says in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stderr.strip().count("\n") == 0


def test_a_missing_config_is_refused_before_what_takes_long_to_import(tmp_path):
    script = "import sys; from radiolucent.cli import main\ntry: main(['fit', '--config', 'missing.yaml'])\n"
    script += "except SystemExit as end: print(end.code, 'torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert result.stdout.split() == ["2", "False"], result.stderr


def test_misspelt_yaml_key_is_named(tmp_path, capsys):
    config = tmp_path / "wrong.yaml"
    config.write_text(
        "trainer: {max_stepz: 1}\n"
        "model: {class_path: lightning.pytorch.demos.boring_classes.BoringModel}\n"
        "data: {class_path: lightning.pytorch.demos.boring_classes.BoringDataModule}\n"
    )
    with pytest.raises(ValueError, match="max_stepz"):
        dispatch(["fit", "--config", str(config)])
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main(["fit", "--config", str(config)])
    said = capsys.readouterr().err
    assert ended.value.code == 2 and "max_stepz" in said and "Traceback" not in said and said.strip().count("\n") == 0


def test_a_bug_keeps_its_traceback(monkeypatch):
    monkeypatch.setattr("radiolucent.cli.dispatch", lambda argv: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main([])


def parser_with_list() -> ArgumentParser:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--config", action="config")
    parser.add_argument("inputs", nargs="+")
    parser.add_argument("--view", type=list[str], default=["PA"])
    parser.add_argument("--size", type=int, default=512)
    return parser


@pytest.mark.parametrize(
    ("words", "views"),
    [
        (["a"], ["PA"]),
        (["a", "--view", "AP"], ["AP"]),
        (["--view", "PA", "a", "--view=LL"], ["PA", "LL"]),
        (["a", "--view", "[PA, LL]"], ["PA", "LL"]),
    ],
)
def test_repeated_options_make_a_list(words, views):
    parser = parser_with_list()
    arguments = parser.parse_args(gather_lists(words, list_options(parser, words)))
    assert arguments.view == views
    assert arguments.inputs == ["a"]


def test_one_config_file_reproduces_a_run(tmp_path):
    config = tmp_path / "run.yaml"
    config.write_text("inputs: [a, b]\nview: [PA, LL]\nsize: 64\n")
    arguments = parser_with_list().parse_args(["--config", str(config)])
    assert (arguments.inputs, arguments.view, arguments.size) == (["a", "b"], ["PA", "LL"], 64)


def test_an_option_may_be_a_list_in_one_subcommand_and_not_in_another() -> None:
    from jsonargparse import ArgumentParser

    parser, lists, plain = (ArgumentParser() for _ in range(3))
    lists.add_argument("--checkpoint", type=list[str], default=[])
    plain.add_argument("--checkpoint", type=str)
    children = parser.add_subcommands()
    children.add_subcommand("suppression", lists)
    children.add_subcommand("lesions", plain)
    for word, expected in (("suppression", ["a"]), ("lesions", "a")):
        words = [word, "--checkpoint", "a"]
        arguments = parser.parse_args(gather_lists(words, list_options(parser, words)))
        assert arguments[word].checkpoint == expected
