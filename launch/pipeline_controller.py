"""The controller of everything: prepares raw logs, then searches, retrains, compares and reports.

    python -m launch.pipeline_controller --input 'raw/day_*' [--schema S] [--prep NAME=VALUE ...] --config C [section.key=value ...]

`torchx run launch/pipeline.py` runs this: the controllers of `launch/prep.py` and `launch/search.py`, one after the other. The shards
go where the config looks for them (`data.shards`).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from data_prep.paths import is_remote
from data_prep.shards import MANIFEST
from launch import controller
from launch.errors import LaunchError
from launch.outcome import in_one_line
from launch.prep_controller import prepare


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit codes: 0 done, 1 a job failed, 2 something to mend first, 130 stopped."""
    ask = argparse.ArgumentParser(prog="python -m launch.pipeline_controller", description="From raw logs to a report.", allow_abbrev=False)
    ask.add_argument("--input", nargs="+", required=True, help="logs, as paths, URIs or patterns")
    ask.add_argument("--schema", default="criteo", help="criteo, or the TOML of a table of your own")
    ask.add_argument("--prep", action="append", default=[], metavar="NAME=VALUE", help="any other option of `data-prep run`")
    own, words = ask.parse_known_args(arguments)
    return in_one_line(lambda: pipeline(own, controller.parser().parse_args(words)))


def pipeline(raw: argparse.Namespace, options: argparse.Namespace) -> int:
    """Both halves; returns an exit code. Raises ConfigError, DataError and LaunchError."""
    config = controller.read_config(options)
    if is_remote(config.data.shards):
        raise LaunchError(f"data.shards = {config.data.shards!r}: shards are made on a disk that the jobs share, not at a URI")
    words = ["--input", *raw.input, "--out", config.data.shards, "--schema", raw.schema]
    for setting in raw.prep:
        name, _, value = setting.partition("=")
        words += [f"--{name}", value]
    code = prepare(words, config.launch, options.resume, options.dryrun)
    if options.dryrun and not (Path(config.data.shards) / MANIFEST).exists():
        return controller.dry_run(config, options.stages)  # whose data is not there to be checked
    # What has begun is the preparation, which may have been stopped before there was a run.
    options.resume = False
    return code or controller.launch(options)


if __name__ == "__main__":
    sys.exit(main())
