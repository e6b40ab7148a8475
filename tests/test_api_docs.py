"""The contract is documented whole: every hook and every method of a socket, with the signature it has."""

from __future__ import annotations

import inspect
import re
from importlib import import_module
from pathlib import Path
from typing import Any

import noisyrun
from noisyrun import api
from noisyrun.api import KINDS, Lifecycle, Method
from noisyrun.api.plugin import DiscoverySpec

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "authoring" / "contract.md").read_text(encoding="utf-8")


def test_the_page_is_what_the_code_says(script) -> None:
    assert script("contract").page() == PAGE, "run python scripts/contract.py"


def test_every_socket_stands_on_the_page() -> None:
    bases = {
        cls.__name__ for cls in map(vars(api).get, api.__all__) if inspect.isclass(cls) and issubclass(cls, Method)
    }
    assert len(bases) == 6  # Method, and a socket each
    for name in (*bases, "OnlinePart", "DiscoverySpec", "Lifecycle"):
        assert f"\n## {name}\n" in PAGE
    for kind in KINDS:
        assert f"Socket `{kind}`" in PAGE or kind == "lifecycle"


def test_every_hook_stands_on_the_page_with_the_arguments_it_has() -> None:
    for spec in (DiscoverySpec, Lifecycle):
        for name, hook in vars(spec).items():
            if name.startswith("noisyrun_"):
                (shown,) = re.findall(rf"- `{name}\((.*?)\)", PAGE)
                names = [word.partition(":")[0] for word in shown.split(", ") if word]
                assert names == list(inspect.signature(hook).parameters)[1:]


def meant(name: str) -> Any:
    """The module of a name, or what stands in one."""
    try:
        return import_module(name)
    except ModuleNotFoundError:
        home, _, attribute = name.rpartition(".")
        return getattr(import_module(home), attribute)


def test_the_reference_shows_the_module_of_every_public_name() -> None:
    shown = set(re.findall(r"^::: (\S+)", (ROOT / "docs" / "api.md").read_text(encoding="utf-8"), re.MULTILINE))
    for name in shown:
        assert meant(name).__doc__
    homes = {getattr(api, name).__module__ for name in api.__all__ if hasattr(getattr(api, name), "__module__")}
    assert {home for home in homes if home.startswith("noisyrun.api.")} <= shown
    # What else docs/stability.md calls public.
    assert "noisyrun.testing" in shown
    functions = {name for name in noisyrun.__all__ if not name.startswith("_")}
    assert {getattr(noisyrun, name) for name in functions} <= set(map(meant, shown))
