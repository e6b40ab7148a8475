"""The places of a suite's table: every method on all data, with all noise, for all seeds. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from noisyrun.api.errors import UserError
from noisyrun.bench.suite import DataEntry, MethodEntry, Suite
from noisyrun.config.resolve import RunConfig, resolve
from noisyrun.registry import Registry

#: What a cell of the harness never does: the harness tracks, and plain cross entropy is a row of its own.
ALWAYS: Mapping[str, Any] = {"tracking": "none", "baseline": False}

Layers = tuple[tuple[str, Mapping[str, Any]], ...]


@dataclass(frozen=True)
class Position:
    """One place of the table.

    Attributes
    ----------
    method, data, noise, seed
        Where it stands.
    layers
        Settings, lowest first, each with the name that errors call it.
    tuned
        Whether the suite gives the method settings for this data or noise apart (``on``).
    swept
        Settings that a sweep chose, by dotted name.
    """

    method: str
    data: str
    noise: str
    seed: int
    layers: Layers
    tuned: bool = False
    swept: Mapping[str, Any] = field(default_factory=dict)

    @property
    def comparison(self) -> str:
        """What it is compared within: the data and the noise."""
        return self.data if self.noise == "none" else f"{self.data}, {self.noise}"

    def __str__(self) -> str:
        return f"{self.method} · {self.comparison} · seed {self.seed}"

    def config(self, registry: Registry | None = None) -> RunConfig:
        """The resolved configuration.

        Raises
        ------
        UserError
            When a setting is wrong, or a plugin not installed.
        """
        try:
            return resolve(self.layers, registry=registry)
        except UserError as error:
            raise UserError("\n".join(f"{self.method}: {line}" for line in str(error).splitlines())) from None


def positions(suite: Suite) -> list[Position]:
    """All places of a suite's table, in its order; plain cross entropy is among them whatever the suite says."""
    return [
        _position(suite, method, swept, data, noise, seed)
        for data in suite.data
        for noise in data.noise
        for method, swept in suite.methods
        for seed in suite.seeds
    ]


def _position(
    suite: Suite, method: MethodEntry, swept: dict[str, Any], data: DataEntry, noise: str, seed: int
) -> Position:
    own = [one for one in method.on if fnmatchcase(data.name, one.data) and fnmatchcase(noise, one.noise)]
    place: dict[str, Any] = {"seed": seed, **ALWAYS}
    if noise != "none":
        place["noise"] = noise
    layers = (
        ("settings", suite.settings),
        (f"data {data.name}", data.settings),
        (f"method {method.name}", method.settings),
        ("sweep", swept),
        *((f"method {method.name}, on", one.settings) for one in own),
        ("suite", place),
    )
    return Position(method.name, data.name, noise, seed, tuple(one for one in layers if one[1]), bool(own), swept)
