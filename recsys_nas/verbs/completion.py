"""`recsys-nas completion`: what makes a shell complete verbs, options and paths, written by shtab from the parser itself."""

from __future__ import annotations

import argparse
from pathlib import Path

from data_prep.command_line import SUCCESS
from recsys_nas.verbs.verb import Verb

SHELLS = ("bash", "zsh", "fish")


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=SHELLS)


def completion_script(parser: argparse.ArgumentParser, shell: str) -> str:
    """The script for `shell` of the command that `parser` reads."""
    import shtab

    (verbs,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    verbs.help = None  # shtab leaves out what the help leaves out
    for each in (parser, *verbs.choices.values()):
        for action in each._actions:
            if action.type is Path:
                setattr(action, "complete", shtab.FILE)  # noqa: B010 - where shtab looks for it
    script: str = shtab.complete(parser, shell)
    return script


def _completion(arguments: argparse.Namespace) -> int:
    from recsys_nas.cli import make_parser

    print(completion_script(make_parser(), arguments.shell))
    return SUCCESS


COMPLETION = Verb(
    "completion",
    "print a script that makes bash, zsh or fish complete verbs, options and paths",
    (
        "recsys-nas completion bash > ~/.local/share/bash-completion/completions/recsys-nas",
        "recsys-nas completion zsh > ~/.zfunc/_recsys-nas   # in a folder of $fpath",
        "recsys-nas completion fish > ~/.config/fish/completions/recsys-nas.fish",
    ),
    _options,
    _completion,
)
