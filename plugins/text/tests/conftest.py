from __future__ import annotations

import pytest
import torch

from noisyrun.api import Phase, Task, Text

ANIMALS = ("tabby_cat", "persian cat", "beagle", "sports car")
DESCRIBED = (
    "a cat with striped fur and whiskers",
    "a cat with long fur and a flat face",
    "a small dog with long ears and short fur",
    "a fast vehicle with two doors and a strong engine",
)


@pytest.fixture
def task() -> Task:
    return Task(classes=ANIMALS)


@pytest.fixture
def text() -> Text:
    return Text(
        names=ANIMALS,
        descriptions=DESCRIBED,
        titles=("striped cat", "red car", "", "long ears"),
        tags=(("whiskers",), ("engine", "doors"), (), ()),
    )


@pytest.fixture
def phase() -> Phase:
    return Phase(seed=0, method="side_info.x", device=torch.device("cpu"))
