"""A socket whose one method its author forgot says so, naming the plugin."""

import pytest
import torch

from noisyrun.api import (
    Backbone,
    MethodError,
    PluginConfig,
    PrototypeBuilder,
    SampleWeighter,
    SideInfo,
    SideInfoEncoder,
    Task,
    Text,
)
from noisyrun.testing import make_bank, make_phase

BANK = make_bank(torch.eye(2), torch.tensor([0, 1]), 2)
TASK = Task(("a", "b"))
BLOCK = BANK.take(BANK.index)


@pytest.mark.parametrize(
    ("socket", "arguments", "wanted"),
    [
        (Backbone, (TASK,), "build"),
        (SideInfoEncoder, (TASK, Text(("a", "b")), SideInfo(), make_phase()), "encode"),
        (PrototypeBuilder, (BANK, SideInfo(), make_phase()), "build_class"),
        (SampleWeighter, (BLOCK, BANK.labels.single, None, SideInfo()), "weigh"),
    ],
)
def test_a_method_that_its_author_forgot_is_named(socket, arguments, wanted):
    method = socket(PluginConfig())
    method.key = "some.plugin"
    with pytest.raises(MethodError, match=rf"^some\.plugin: must define .*{wanted}"):
        method(*arguments)
