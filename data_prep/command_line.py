"""What every command line of this project does alike: help that keeps its lines, errors in one line that name what was near."""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

SUCCESS, FAILURE, USER_ERROR, STOPPED = 0, 1, 2, 130
"""Exit codes: done; a check or a job failed; bad input, which the line on stderr says how to mend; stopped by Ctrl-C."""
EXIT_CODES = "exit codes: 0 done, 1 a check failed, 2 bad input (one line on stderr says what to do), 130 stopped"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`did you mean 'dcnv2'?` where one of `known` is near `name`, else all of them: `known: dlrm, dcnv2`."""
    known = list(known)
    near = difflib.get_close_matches(name.lower(), known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"


def folder(text: str) -> Path:
    """For argparse: a path. An empty one, as of a shell's variable that is not set, would be the current folder."""
    if not text:
        raise argparse.ArgumentTypeError("is empty; name a folder, or . for this one")
    return Path(text)


def in_one_line(error: OSError) -> str:
    """What went wrong with which file; and that the same command goes on, unless it would meet the same file again."""
    where = f"{error.filename}: " if error.filename else ""
    lasting = isinstance(error, NotADirectoryError | PermissionError | FileNotFoundError)
    return f"{where}{error.strerror or error}" + ("" if lasting else "; what is finished is kept, run again to continue")


class Parser(argparse.ArgumentParser):
    """argparse with `examples` below the help, whole option names only, and one line for a mistake, which names the nearest."""

    def __init__(self, *args: Any, examples: Sequence[str] = (), **kwargs: Any) -> None:
        kwargs = {"epilog": _listed(examples), "allow_abbrev": False, "formatter_class": argparse.RawDescriptionHelpFormatter} | kwargs
        super().__init__(*args, **kwargs)

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        arguments, unknown = self.parse_known_args(args, namespace)
        if unknown:
            used: Parser = getattr(arguments, "parser", self)
            used.error(used._unknown(unknown[0]))
        return arguments

    def _unknown(self, word: str) -> str:
        options = re.findall(r"--[a-z][\w-]*", self.format_usage())
        if not word.startswith("-"):
            return f"{word!r} is one argument too many"
        return f"there is no option {word.partition('=')[0]}; {did_you_mean(word.partition('=')[0], options)}"

    def error(self, message: str) -> NoReturn:
        """End the process with code 2 and one line."""
        self.exit(USER_ERROR, f"error: {_plainer(message)}; see `{self.prog} --help`\n")


def _listed(examples: Sequence[str]) -> str | None:
    if len(examples) < 2:
        return f"example: {examples[0]}" if examples else None
    return "\n".join(["examples:", *(f"  {example}" for example in examples)])


def _plainer(message: str) -> str:
    """argparse's words for a choice that is none, shorter, with the nearest instead of all where one is near."""
    found = re.fullmatch(r"argument (\S+): invalid choice: '?(.*?)'? \(choose from (.*)\)", message)
    if not found:
        return message
    what, name, known = found[1], found[2], [choice.strip("'\" ") for choice in found[3].split(",")]
    kind = "verb" if what == "VERB" else f"{what} named"
    return f"there is no {kind} {name!r}; {did_you_mean(name, known)}"
