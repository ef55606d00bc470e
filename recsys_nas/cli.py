"""`recsys-nas`: the steps of a run one by one, and looks at what it made. The verbs are in recsys_nas/verbs, one file a group."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from data_prep.command_line import EXIT_CODES, FAILURE, STOPPED, SUCCESS, USER_ERROR, Parser, in_one_line
from recsys_nas.verbs import judge, prepare, search, serve
from recsys_nas.verbs.completion import COMPLETION
from recsys_nas.verbs.verb import Verb

__all__ = ["FAILURE", "SUCCESS", "USER_ERROR", "main", "make_parser"]

GROUPS: dict[str, tuple[Verb, ...]] = {
    "prepare": prepare.VERBS,
    "search": search.VERBS,
    "judge": judge.VERBS,
    "serve": serve.VERBS,
    "shell": (COMPLETION,),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; returns an exit code of `data_prep.command_line`."""
    arguments = make_parser().parse_args(argv)
    try:
        verb: Verb = arguments.verb
        return verb.run(arguments)
    except ValueError as error:  # ConfigError, DataError and TableError among them
        print(f"error: {error}", file=sys.stderr)
        return USER_ERROR
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - whoever read our lines has had enough
        return SUCCESS
    except OSError as error:
        print(f"error: {in_one_line(error)}", file=sys.stderr)
        return USER_ERROR
    except KeyboardInterrupt:
        print("stopped; run the same command again to continue", file=sys.stderr)
        return STOPPED


def make_parser() -> Parser:
    """All verbs with their options."""
    parser = Parser(
        prog="recsys-nas",
        description="Architecture search for click-through-rate models.",
        usage="recsys-nas VERB ...",
        epilog=f"{_listed()}\n\n`recsys-nas VERB --help` tells the options of one, with an example.\n"
        f"`data-prep --help` turns logs into shards, `torchx run launch/search.py` runs a whole search.\n\n{EXIT_CODES}",
    )
    verbs = parser.add_subparsers(metavar="VERB", required=True, help=argparse.SUPPRESS)
    for verb in (verb for group in GROUPS.values() for verb in group):
        # argparse knows no groups of verbs, so they are listed below its own text
        added = verbs.add_parser(verb.name, prog=f"recsys-nas {verb.name}", help=verb.help, description=verb.help, examples=verb.examples)
        verb.add_options(added)
        added.set_defaults(verb=verb, parser=added)
    return parser


def _listed() -> str:
    width = max(len(verb.name) for group in GROUPS.values() for verb in group)
    lines = []
    for title, group in GROUPS.items():
        lines += ["", f"{title}:", *(f"  {verb.name:<{width}}  {verb.help}" for verb in group)]
    return "\n".join(lines[1:])


if __name__ == "__main__":
    sys.exit(main())
