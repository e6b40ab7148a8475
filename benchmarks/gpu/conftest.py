"""The device is a GPU here; without one every test is skipped, and says why."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(scope="session")
def device(request: pytest.FixtureRequest) -> torch.device:
    """The first GPU."""
    if not torch.cuda.is_available():
        pytest.skip("torch sees no CUDA device")
    if request.config.getoption("--cpu-seconds"):
        pytest.skip("CPU seconds say nothing of a GPU")
    return torch.device("cuda")
