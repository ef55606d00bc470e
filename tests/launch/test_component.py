"""The component under both of its names, through the code that `torchx run` itself uses."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

import pytest
from torchx.runner import get_runner
from torchx.specs.builders import materialize_appdef
from torchx.specs.finder import ModuleComponentsFinder, get_component

from launch.process import STOPPED, stop_without_traceback
from recsys_nas.config import load_config

FILE = Path(__file__).parents[2] / "launch" / "search.py"


@pytest.mark.parametrize("stage", ["search", "retrain", "compare", "pipeline", "prep"])
def test_entry_point_gives_the_name_that_users_type(stage: str) -> None:
    found = {component.name: component for component in ModuleComponentsFinder(f"launch.{stage}", f"launch/{stage}").find()}
    assert sorted(found) == sorted([f"launch/{stage}.py", f"launch/{stage}.{stage}"])
    assert not any(component.validation_errors for component in found.values())
    registered = importlib.metadata.entry_points(group="torchx.components")
    assert [entry.value for entry in registered if entry.name == f"launch/{stage}"][:1] == [f"launch.{stage}"]
    assert found[f"launch/{stage}.py"].description.startswith(("Search", "Retrain", "Compare", "Turn"))


def test_torchx_own_components_stay() -> None:
    assert get_component("utils.echo").fn_name == "echo"
    assert get_component("dist.ddp").fn_name == "ddp"


ALL = "--config a.toml --days 3 --max_parallel 4 --nproc_per_node 2 --nnodes 2 --gpus 0 --min_days 1"
ALL += " --scheduler slurm --cfg partition=cpu,time=10"
SETTINGS = (
    *("launch.max_parallel=4", "launch.nproc_per_node=2", "launch.nnodes=2", "launch.gpus=0", "launch.min_days=1"),
    *('launch.scheduler="slurm"', 'launch.scheduler_options.partition="cpu"', 'launch.scheduler_options.time="10"'),
    'data.search_days="3"',
)


@pytest.mark.parametrize(
    ("stage", "module", "first"),
    [
        ("search", "launch.controller", ()),
        ("retrain", "launch.controller", ("--stages", "retrain")),
        ("compare", "launch.controller", ("--stages", "compare")),
        ("pipeline", "launch.pipeline_controller", ("--input", "raw/*", "--schema", "criteo", "--prep=hash=frequency")),
    ],
)
@pytest.mark.parametrize("named", ["launch/{stage}.py", f"{FILE.parent}/{{stage}}.py:{{stage}}"])
def test_both_names_run_the_controller(stage: str, module: str, first: tuple[str, ...], named: str) -> None:
    """Every option reaches the controller, and the config takes it."""
    name = named.format(stage=stage)
    raw = ["--input", "raw/*"] if stage == "pipeline" else []
    prep = ["prep.hash=frequency"] if stage == "pipeline" else []
    arguments = [*raw, *ALL.split(), "--resume", "retrain.seeds=[0]", *prep, "--dryrun"]
    role = materialize_appdef(get_component(name).fn, arguments).roles[0]
    assert [role.entrypoint, *role.args] == [
        *("python", "-m", "launch.child", "--ask", "python", "-m", module, *first),
        *("--config", "a.toml", "--resume", "--dryrun", *SETTINGS, "retrain.seeds=[0]"),
    ]
    assert os.environ["PATH"].split(os.pathsep)[0] == os.path.dirname(sys.executable)
    with get_runner() as runner:
        request = runner.dryrun_component(name, arguments, "local_cwd").request
    assert request.role_params[stage][0].args == [role.entrypoint, *role.args]
    config = load_config(os.devnull, (*SETTINGS, "name=a", "data.test_day=5"))
    assert (config.launch.nnodes, config.launch.scheduler_options) == (2, {"partition": "cpu", "time": "10"})


@pytest.mark.parametrize(
    ("words", "flags"),
    [
        ("--config a", []),
        ("--config a --resume", ["--resume"]),
        ("--dryrun --config a x=1 --resume", ["--resume", "--dryrun"]),
        ("--config a --resume True --dryrun false x=1", ["--resume"]),
    ],
)
def test_flags_need_no_value_and_may_stand_anywhere(words: str, flags: list[str]) -> None:
    role = materialize_appdef(get_component("launch/search.py").fn, words.split()).roles[0]
    assert role.args[role.args.index("a") + 1 :] == [*flags, *(["x=1"] if "x=1" in words else [])]


def test_ctrl_c_at_torchx_ends_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    class SignalException(Exception):
        pass

    stop_without_traceback()
    sys.excepthook(SignalException, SignalException("got signal"), None)
    assert capsys.readouterr().err == f"{STOPPED}\n"
    sys.excepthook(ValueError, ValueError("another"), None)
    assert "ValueError: another" in capsys.readouterr().err


def test_nothing_of_launch_imports_torch() -> None:
    imports = "; ".join(f"import launch.{path.stem}" for path in FILE.parent.glob("[a-z]*.py"))
    subprocess.run([sys.executable, "-c", f"{imports}; import sys; assert 'torch' not in sys.modules"], check=True)
