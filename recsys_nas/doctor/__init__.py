"""`recsys-nas doctor`: what is wrong with this machine's installation, and the command that mends it."""

from __future__ import annotations

import dataclasses
import json

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from recsys_nas.doctor.checks import Finding, check_all
from recsys_nas.doctor.facts import Facts, gather

__all__ = ["Facts", "Finding", "check_all", "gather", "run_doctor"]

STYLES = {"ok": "green", "warning": "yellow", "problem": "bold red"}


def run_doctor(as_json: bool = False) -> int:
    """Check this machine and print what was found; returns 0 if there is no problem (warnings allowed), else 1."""
    findings = check_all(gather())
    if as_json:
        print(json.dumps([dataclasses.asdict(finding) for finding in findings], indent=2))
    else:
        _print(findings, Console())
    return 1 if any(finding.status == "problem" for finding in findings) else 0


def _print(findings: list[Finding], console: Console) -> None:
    table = Table(box=None, pad_edge=False)
    for column in ("check", "status", "found"):
        table.add_column(column, overflow="fold")
    for finding in findings:
        table.add_row(finding.check, f"[{STYLES[finding.status]}]{finding.status}[/]", escape(finding.found))
    console.print(table)
    to_mend: dict[str, list[str]] = {}
    for finding in findings:
        if finding.mend:
            to_mend.setdefault(finding.mend, []).append(f"[{STYLES[finding.status]}]{finding.check}[/]")
    for command, checks in to_mend.items():
        console.print(f"\nto mend {', '.join(checks)}:", highlight=False)
        console.print(f"    {command}", markup=False, highlight=False, soft_wrap=True)
    if not to_mend:
        console.print("\nall well", highlight=False)
