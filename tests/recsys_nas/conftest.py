"""One thread for every test here: the tensors are tiny, and sums keep their order on any machine."""

from __future__ import annotations

import pytest
import torch

torch.set_num_threads(1)


def pytest_configure(config: pytest.Config) -> None:
    # Its import warns of its own insides, which nobody here can mend.
    config.addinivalue_line("filterwarnings", r"ignore::DeprecationWarning:fbgemm_gpu.*")
