"""The list of broken plugins, and which check has to catch each."""

from collections.abc import Callable
from typing import Any

import pytest

BROKEN: list[Any] = []


def broken(check: str, message: str) -> Callable[[type[Any]], type[Any]]:
    """Take a class as one that a check catches with a message."""

    def take(plugin: type[Any]) -> type[Any]:
        BROKEN.append(pytest.param(check, plugin, message, id=f"{check}-{plugin.__name__}"))
        return plugin

    return take
