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

FILE = Path(__file__).parents[2] / "launch" / "search.py"


def test_entry_point_gives_the_name_that_users_type() -> None:
    found = {component.name: component for component in ModuleComponentsFinder("launch.search", "launch/search").find()}
    assert sorted(found) == ["launch/search.py", "launch/search.search"]
    assert not any(component.validation_errors for component in found.values())
    registered = importlib.metadata.entry_points(group="torchx.components")
    assert [entry.value for entry in registered if entry.name == "launch/search"][:1] == ["launch.search"]


@pytest.mark.parametrize("name", ["launch/search.py", f"{FILE}:search"])
def test_both_names_run_the_controller(name: str) -> None:
    arguments = ["--config", "a.toml", "--days", "3", "--gpus", "0", "retrain.seeds=[0]"]
    role = materialize_appdef(get_component(name).fn, arguments).roles[0]
    controller = ["python", "-m", "launch.controller", "--config", "a.toml"]
    assert [role.entrypoint, *role.args] == [
        *("python", "-m", "launch.child", *controller),
        *("launch.gpus=0", 'data.search_days="3"', "retrain.seeds=[0]"),
    ]
    assert os.environ["PATH"].split(os.pathsep)[0] == os.path.dirname(sys.executable)
    with get_runner() as runner:
        request = runner.dryrun_component(name, arguments, "local_cwd").request
    assert request.role_params["search"][0].args == [role.entrypoint, *role.args]


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
