"""`radiolucent COMMAND ...`: finds the module, parses, and turns bad input into one line and exit status 2."""

from __future__ import annotations

import importlib
import json
import os
import sys
import typing

from radiolucent.refusals import refusal

COMMANDS = {
    "demo": ("demo", "sample CT -> paired radiographs -> VQ-GAN -> latent diffusion -> bones suppressed"),
    "drr": ("drr", "render radiographs (total, bone, soft tissue) from CT volumes"),
    "fit": ("fit", "train a model from a YAML config (Lightning CLI)"),
    "validate": ("fit", "validate a model from a YAML config"),
    "test": ("fit", "test a model from a YAML config"),
    "predict": ("fit", "predict with a model from a YAML config"),
    "export": ("export", "the model's folder of any checkpoint of a training"),
    "suppress": ("suppress", "remove the bones from radiographs"),
    "adapt": ("adapt", "fit the packaged model to a site's own dual-energy pairs"),
    "synthesize": ("synthesize", "draw a dataset of chest radiographs from prompts"),
    "tokens": ("tokens", "radiographs to a VQ-GAN's code indices in Parquet, and back"),
    "convert-checkpoint": (
        "convert_checkpoint",
        "published weights (BS-LDM, MONAI, taming, ...) as our folders",
    ),
    "app": ("app", "a page in the browser on this machine: suppress, X-ray a CT, synthesise, judge"),
    "evaluate": (
        "evaluate.command",
        "score suppression, nodules kept, synthesis, privacy, utility or views, with a report",
    ),
}


def usage() -> str:
    """The text of `radiolucent --help`.

    Returns:
        Several lines: what the program is, then each command with one line about it.
    """
    lines = [f"  {name:<10} {summary}" for name, (_, summary) in COMMANDS.items()]
    return "\n".join(
        [
            "usage: radiolucent COMMAND [options]",
            "",
            "Bone suppression and synthesis of chest radiographs, and radiographs from CT. Research use only.",
            "",
            *lines,
            "",
            "`radiolucent COMMAND --help` lists a command's options; every command takes --config FILE.",
        ]
    )


def list_options(parser: typing.Any, argv: list[str]) -> set[str]:
    """Which options take a list.

    Args:
        parser: Of a command.
        argv: The words of the command line.

    Returns:
        Their names, of the parser and of the subcommand that `argv` names.
    """
    lists = (action for action in parser._actions if typing.get_origin(getattr(action, "_typehint", None)) is list)
    names = {name for action in lists for name in action.option_strings}
    subcommands = (action.choices for action in parser._actions if isinstance(action.choices, dict))
    named = ((choices, next((word for word in argv if word in choices), None)) for choices in subcommands)
    return names.union(*(list_options(choices[word], argv) for choices, word in named if word))


def gather_lists(argv: list[str], list_options: set[str]) -> list[str]:
    """`--view PA --view LL` as jsonargparse reads a list: `--view=["PA", "LL"]`.

    Args:
        argv: The words of the command line.
        list_options: Names of the options that take a list.

    Returns:
        The words, with each such option once.
    """
    lists: dict[str, list[str]] = {}
    rest: list[str] = []
    words = iter(argv)
    for word in words:
        name, equals, value = word.partition("=")
        if name not in list_options:
            rest.append(word)
            continue
        value = value if equals else next(words, "")
        if value.startswith("["):  # already a list
            rest.append(f"{name}={value}")
        else:
            lists.setdefault(name, []).append(value)
    return rest + [f"{name}={json.dumps(values)}" for name, values in lists.items()]


def hint(parser: typing.Any, stray: str, argv: list[str]) -> str:
    """What was probably meant by words that a parser does not know.

    Args:
        parser: Of a command.
        stray: The words; "" for none.
        argv: The words of the command line.

    Returns:
        The end of a sentence, or "".
    """
    if stray and not stray.startswith("-"):
        if not list_options(parser, argv) & {word.partition("=")[0] for word in argv}:
            return ""
        return "; an option that may be repeated takes one value each time: --option A --option B"
    import difflib

    parsers = [parser]
    for one in parsers:  # which grows by subcommands
        parsers += [
            sub for action in one._actions if isinstance(action.choices, dict) for sub in action.choices.values()
        ]
    names = {name.lstrip("-") for one in parsers for action in one._actions for name in action.option_strings}
    near = difflib.get_close_matches(stray.split()[0].partition("=")[0].lstrip("-") if stray else "", names, n=1)
    return f"; did you mean --{near[0]}?" if near else ""


def dispatch(argv: list[str]) -> int:
    """Run one command.

    Args:
        argv: The words of the command line, without the program's name.

    Returns:
        The exit status.

    Raises:
        ValueError: Bad input; so do OSError and what `radiolucent.refusals` knows.
    """
    if not argv or argv[0] in ("-h", "--help"):
        print(usage())
        return 0
    if argv[0] == "--version":
        from radiolucent import __version__

        print(__version__)
        return 0
    if argv[0] not in COMMANDS:
        raise ValueError(f"unknown command '{argv[0]}': choose one of {', '.join(COMMANDS)}")
    module = importlib.import_module(f"radiolucent.commands.{COMMANDS[argv[0]][0]}")
    if COMMANDS[argv[0]][0] == "fit":  # LightningCLI parses its own subcommands
        return module.main(argv)
    from jsonargparse import ArgumentError, ArgumentParser

    parser = ArgumentParser(
        prog=f"radiolucent {argv[0]}", description=module.__doc__, exit_on_error=False, allow_abbrev=False
    )
    parser.add_argument("--config", action="config", help="a YAML file with these options")
    module.add_arguments(parser)
    try:
        arguments = parser.parse_args(gather_lists(argv[1:], list_options(parser, argv[1:])))
    except ArgumentError as error:
        stray = str(error).partition("unrecognized arguments: ")[2]
        raise ValueError(f"{error}{hint(parser, stray, argv)}; see `radiolucent {argv[0]} --help`") from None
    return module.run(arguments)


def main(argv: list[str] | None = None) -> None:
    """Console entry point; it always ends in SystemExit.

    Its status is 0; 1 if inputs of a batch were skipped; 2 for a refusal, which is one line on stderr; 130 after
    Ctrl-C.

    Args:
        argv: The words after the program's name; None takes those of this process.
    """
    try:
        status = dispatch(sys.argv[1:] if argv is None else argv)
    except Exception as error:
        message = None if os.environ.get("RADIOLUCENT_DEBUG") else refusal(error)
        if message is None:
            raise
        print(f"radiolucent: error: {message}", file=sys.stderr)
        status = 2
    except KeyboardInterrupt:
        print("radiolucent: stopped; run the same command again to resume", file=sys.stderr)
        status = 130
    sys.exit(status)
