"""`radiolucent COMMAND ...`: finds the command's module, parses, and turns bad input into one line and exit status 2."""

from __future__ import annotations

import importlib
import os
import sys

COMMANDS = {
    "demo": ("demo", "sample CT -> paired radiographs -> VQ-GAN -> latent diffusion -> bones suppressed"),
    "drr": ("drr", "render radiographs (total, bone, soft tissue) from CT volumes"),
    "fit": ("train", "train a model from a YAML config (Lightning CLI)"),
    "validate": ("train", "validate a model from a YAML config"),
    "test": ("train", "test a model from a YAML config"),
    "predict": ("train", "predict with a model from a YAML config"),
    "suppress": ("suppress", "remove the bones from radiographs"),
}


def usage() -> str:
    """The text of `radiolucent --help`."""
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


def dispatch(argv: list[str]) -> int:
    """Run one command; bad input surfaces as ValueError or OSError."""
    if not argv or argv[0] in ("-h", "--help"):
        print(usage())
        return 0
    if argv[0] == "--version":
        from radiolucent import __version__

        print(__version__)
        return 0
    if argv[0] not in COMMANDS:
        raise ValueError(f"unknown command '{argv[0]}': choose one of {', '.join(COMMANDS)}")
    module = importlib.import_module(f"radiolucent.{COMMANDS[argv[0]][0]}")
    if COMMANDS[argv[0]][0] == "train":  # LightningCLI parses its own subcommands
        return module.main(argv)
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(prog=f"radiolucent {argv[0]}", description=module.__doc__)
    parser.add_argument("--config", action="config", help="a YAML file with these options")
    module.add_arguments(parser)
    return module.run(parser.parse_args(argv[1:]))


def main(argv: list[str] | None = None) -> None:
    """Console entry point."""
    try:
        status = dispatch(sys.argv[1:] if argv is None else argv)
    except (ValueError, OSError) as error:
        if os.environ.get("RADIOLUCENT_DEBUG"):
            raise
        message = " ".join(str(error).split())
        print(f"radiolucent: error: {message}", file=sys.stderr)
        status = 2
    except KeyboardInterrupt:
        print("radiolucent: stopped; run the same command again to go on", file=sys.stderr)
        status = 130
    sys.exit(status)
