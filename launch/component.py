"""What the components launch/*.py share: their options, and the controller process that each of them starts.

TorchX shows a component's own signature and docstring as its command line, and its linter knows only the old-style annotations.
"""

import inspect
import shutil
from collections.abc import Callable
from typing import Any, Dict, List, Optional

import torchx
from torchx import specs

from launch import flags, process


def run_words(
    *overrides: str,
    config: str,
    days: Optional[str] = None,
    max_parallel: Optional[int] = None,
    nproc_per_node: Optional[int] = None,
    nnodes: Optional[int] = None,
    gpus: Optional[int] = None,
    min_days: Optional[int] = None,
    scheduler: Optional[str] = None,
    cfg: Optional[Dict[str, str]] = None,
    resume: bool = False,
    dryrun: bool = False,
) -> list[str]:
    """Words for the controller.

    Args:
        overrides: config values as section.key=value, after all options, e.g. search.batch_size=1024 retrain.seeds=[0]
        config: the experiment, a TOML file such as configs/demo.toml
        days: days to search on, e.g. 0-4 or 0,2,5 (data.search_days)
        max_parallel: jobs at once; 0 means as many as the machine has cores or GPUs for (launch.max_parallel)
        nproc_per_node: processes of one job on each node (launch.nproc_per_node)
        nnodes: nodes of one job (launch.nnodes)
        gpus: GPUs of one job on each node; 0 means CPU (launch.gpus)
        min_days: days that suffice when others fail for good; 0 means all (launch.min_days)
        scheduler: where jobs run: local_cwd, slurm, kubernetes, local_docker (launch.scheduler)
        cfg: the scheduler's options, e.g. partition=gpu,time=02:00:00 (launch.scheduler_options)
        resume: go on with a run that has begun, and do not begin one
        dryrun: print what the scheduler would be asked for, job by job; start and write nothing
    """
    asked = {"max_parallel": max_parallel, "nproc_per_node": nproc_per_node, "nnodes": nnodes, "gpus": gpus, "min_days": min_days}
    settings = [f"launch.{name}={value}" for name, value in asked.items() if value is not None]
    settings += [*launch_settings(scheduler, cfg), *([f'data.search_days="{days}"'] if days is not None else [])]
    return ["--config", config, *asked_flags(resume, dryrun), *settings, *overrides]


def launch_settings(scheduler: Optional[str], cfg: Optional[Dict[str, str]]) -> list[str]:
    """The config values behind `--scheduler` and `--cfg`."""
    chosen = [f'launch.scheduler="{scheduler}"'] if scheduler is not None else []
    return chosen + [f'launch.scheduler_options.{name}="{value}"' for name, value in (cfg or {}).items()]


def asked_flags(resume: bool, dryrun: bool) -> list[str]:
    return ["--resume"] * resume + ["--dryrun"] * dryrun


def controller(role: str, module: str, words: list[str]) -> specs.AppDef:
    """The process that runs the jobs and ends with TorchX's own."""
    process.put_own_commands_first()
    process.stop_without_traceback()
    columns = shutil.get_terminal_size(fallback=(120, 24)).columns - len(f"{role}/0 ")
    started = specs.Role(
        name=role,
        image=torchx.IMAGE,
        entrypoint="python",
        args=["-m", "launch.child", "--ask", "python", "-m", module, *words],
        env={"PYTHONUNBUFFERED": "1", "COLUMNS": str(columns)},
    )
    return specs.AppDef(name=role, roles=[started])


def options_of(*sources: Callable[..., Any]) -> Callable[[Callable[..., specs.AppDef]], Callable[..., specs.AppDef]]:
    """Gives a component the options, and their descriptions, of the functions that turn them into words."""
    flags.allow_bare_flags()
    found = {name: each for source in sources for name, each in inspect.signature(source).parameters.items()}
    parameters = [each for each in found.values() if each.kind is not inspect.Parameter.VAR_KEYWORD]
    described = "\n".join((inspect.getdoc(source) or "").partition("Args:\n")[2] for source in sources)

    def give(component: Callable[..., specs.AppDef]) -> Callable[..., specs.AppDef]:
        ordered = sorted(parameters, key=lambda each: each.kind)  # *overrides, then the options
        vars(component)["__signature__"] = inspect.Signature(ordered, return_annotation=specs.AppDef)
        component.__doc__ = f"{inspect.getdoc(component)}\n\nArgs:\n{described}"
        return component

    return give


def raw_words(*, input: List[str], schema: str = "criteo") -> list[str]:
    """Words for a controller that reads raw logs.

    Args:
        input: logs, as paths, URIs or quoted patterns, separated by commas
        schema: criteo, or the TOML of a table of your own
    """
    return ["--input", *input, "--schema", schema]


def pipeline_words(*overrides: str, input: List[str], schema: str = "criteo", **options: Any) -> list[str]:
    """Words for the controller of everything: overrides that begin with `prep.` are options of `data-prep run`."""
    prep = [word.removeprefix("prep.") for word in overrides if word.startswith("prep.")]
    others = [word for word in overrides if not word.startswith("prep.")]
    return [*raw_words(input=input, schema=schema), *(f"--prep={word}" for word in prep), *run_words(*others, **options)]


def prep_words(
    *settings: str,
    out: str,
    hash: Optional[str] = None,
    threshold: Optional[int] = None,
    max_parallel: Optional[int] = None,
    scheduler: Optional[str] = None,
    cfg: Optional[Dict[str, str]] = None,
    resume: bool = False,
    dryrun: bool = False,
    **raw: Any,
) -> list[str]:
    """Words for the controller of a preparation.

    Args:
        settings: after all options, any other of `data-prep run` as name=value, e.g. buckets=1000000 dense-transform=mlperf,
            and how jobs are launched, e.g. launch.memory_mb=8192 launch.cpus=1
        out: folder for the shards, on a disk that all jobs share
        hash: modulo, or frequency for a vocabulary over all days
        threshold: with frequency, ids seen less often share one
        max_parallel: jobs at once; 0 means as many as the machine has cores for (launch.max_parallel)
        scheduler: where jobs run: local_cwd, slurm, kubernetes, local_docker (launch.scheduler)
        cfg: the scheduler's options, e.g. partition=cpu (launch.scheduler_options)
        resume: go on with a preparation that has begun, and do not begin one
        dryrun: print what the scheduler would be asked for, job by job; start and write nothing
    """
    words = [*raw_words(**raw), "--out", out, *asked_flags(resume, dryrun)]
    words += ["--hash", hash] if hash is not None else []
    words += ["--threshold", str(threshold)] if threshold is not None else []
    launch = [] if max_parallel is None else [f"launch.max_parallel={max_parallel}"]
    launch += [*launch_settings(scheduler, cfg), *(word for word in settings if word.startswith("launch."))]
    for setting in settings:
        name, _, value = setting.partition("=")
        words += [] if name.startswith("launch.") else [f"--{name}", value]
    return [*words, *(f"--launch={setting}" for setting in launch)]
