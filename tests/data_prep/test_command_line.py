"""What a mistyped command line says: one line, exit code 2, and the nearest name."""

from __future__ import annotations

import pytest

from data_prep.command_line import USER_ERROR, Parser, did_you_mean, folder


def parser() -> Parser:
    made = Parser(prog="cook")
    verbs = made.add_subparsers(metavar="VERB", required=True)
    bake = verbs.add_parser("bake", examples=("cook bake --heat high",))
    bake.add_argument("--heat", choices=("low", "high"))
    bake.add_argument("--minutes", type=int)
    bake.add_argument("--out", type=folder)
    bake.set_defaults(parser=bake)
    verbs.add_parser("boil", examples=("cook boil", "cook boil --long"))
    return made


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["bakk"], "error: there is no verb 'bakk'; did you mean 'bake'?; see `cook --help`"),
        (["fry"], "error: there is no verb 'fry'; known: bake, boil; see `cook --help`"),
        (["bake", "--heet", "low"], "error: there is no option --heet; did you mean '--heat'?; see `cook bake --help`"),
        (["bake", "--heet=low"], "error: there is no option --heet; did you mean '--heat'?; see `cook bake --help`"),
        (["bake", "--min", "3"], "error: there is no option --min; did you mean '--minutes'?; see `cook bake --help`"),
        (["bake", "--heat", "hihg"], "error: there is no --heat named 'hihg'; did you mean 'high'?; see `cook bake --help`"),
        (["bake", "bread"], "error: 'bread' is one argument too many; see `cook bake --help`"),
        (["bake", "--out", ""], "error: argument --out: is empty; name a folder, or . for this one; see `cook bake --help`"),
        (["bake", "--minutes", "x"], "error: argument --minutes: invalid int value: 'x'; see `cook bake --help`"),
    ],
)
def test_a_mistake_is_one_line(words: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        parser().parse_args(words)
    assert stopped.value.code == USER_ERROR
    assert capsys.readouterr().err == f"{line}\n"


def test_examples_stand_below_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    for verb, below in (("bake", "example: cook bake --heat high\n"), ("boil", "examples:\n  cook boil\n  cook boil --long\n")):
        with pytest.raises(SystemExit):
            parser().parse_args([verb, "--help"])
        assert capsys.readouterr().out.endswith(below)


def test_all_names_are_told_where_none_is_near() -> None:
    assert did_you_mean("dcn2", ("dlrm", "dcnv2")) == "did you mean 'dcnv2'?"
    assert did_you_mean("xyz", ("dlrm", "dcnv2")) == "known: dlrm, dcnv2"
