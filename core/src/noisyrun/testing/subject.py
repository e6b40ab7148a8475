"""The plugin under test: how it is named, and how a fresh method of it is made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, get_args

import torch

from noisyrun.api.backbone import Backbone
from noisyrun.api.config import PluginConfig
from noisyrun.api.corrector import LabelCorrector
from noisyrun.api.errors import UserError
from noisyrun.api.method import Method
from noisyrun.api.needs import Needs
from noisyrun.api.online import OnlinePart
from noisyrun.api.plugin import Plugin, plugin_key
from noisyrun.api.prototypes import PrototypeBuilder
from noisyrun.api.side_info import SideInfoEncoder
from noisyrun.api.weighter import SampleWeighter
from noisyrun.registry import Found, Registry, Source
from noisyrun.testing.fixtures import World, make_world

#: What is tested: a record, ``kind.name`` of an installed plugin, or the method's class.
What = Plugin | str | type[Method[Any]]

SOCKETS: Mapping[str, type[Method[Any]]] = {
    "backbone": Backbone,
    "side_info": SideInfoEncoder,
    "prototypes": PrototypeBuilder,
    "weighter": SampleWeighter,
    "corrector": LabelCorrector,
}

_NOWHERE = Source("the record", "given", "test")

#: Devices that a plugin is tried on, and what keeps one out.
DEVICES = ("cpu", "cuda")
NO_GPU = "no GPU that torch can use is here"


@dataclass(frozen=True)
class Subject:
    """A plugin with the configuration it is tested in, and what is known to fail.

    Attributes
    ----------
    key
        ``weighter.small-loss``.
    factory, config_class
        What the record names.
    config
        Settings in place of the defaults.
    expected_failures
        Reasons, by name of the check.
    record
        None when a class was given.
    device
        Where it is tried: ``cpu`` or ``cuda``.
    """

    key: str
    kind: str
    factory: type[Any]
    config_class: type[PluginConfig]
    config: Mapping[str, Any] = field(default_factory=dict)
    expected_failures: Mapping[str, str] = field(default_factory=dict)
    record: Plugin | None = None
    device: str = "cpu"

    def __str__(self) -> str:
        return self.key

    def settings(self) -> PluginConfig:
        """The configuration, validated."""
        return self.config_class.model_validate(dict(self.config))

    def make(self) -> Any:
        """A fresh method, which knows nothing yet."""
        made = self.factory(self.settings())
        if isinstance(made, Method):
            made.key = self.key
        return made

    @property
    def needs(self) -> Needs:
        """What the method asks for in this configuration."""
        needs: Needs = self.make().needs
        return needs

    @property
    def online(self) -> bool:
        """Whether the method trains a part of the network."""
        return issubclass(self.factory, OnlinePart)

    def world(self, *, multi: bool | None = None, **changes: Any) -> World:
        """A data set of the kind of labels the method works with: single ones where it has a choice."""
        several = "single" not in self.needs.labels if multi is None else multi
        return make_world(multi=several, device=self.device, **changes)

    def worlds(self, **changes: Any) -> list[World]:
        """A data set of each kind of labels the method works with; parameters as for `make_world`."""
        kinds = self.needs.labels
        return [self.world(multi=kind == "multi", **changes) for kind in ("single", "multi") if kind in kinds]

    def on(self, device: str) -> Subject:
        """The same plugin, tried on another device."""
        return replace(self, device=device)


def devices() -> tuple[str, ...]:
    """The devices of this machine that a plugin can be tried on."""
    return DEVICES if torch.cuda.is_available() else DEVICES[:1]


def subject(
    what: What | Subject,
    config: Mapping[str, Any] | None = None,
    expected_failures: Mapping[str, str] | None = None,
    registry: Registry | None = None,
) -> Subject:
    """A plugin to be tested.

    Parameters
    ----------
    what
        A `Plugin` record; ``"weighter.small-loss"`` of an installed one; or a method's class.
    config
        Settings in place of the defaults: small ones keep a check quick.
    expected_failures
        Reasons by name of the check: these checks have to fail.

    Raises
    ------
    UserError
        When no such plugin is installed.
    """
    if isinstance(what, Subject):
        return what
    given, known = dict(config or {}), dict(expected_failures or {})
    if isinstance(what, type):
        kind = next((kind for kind, base in SOCKETS.items() if issubclass(what, base)), None)
        if kind is None:
            raise UserError(f"{what.__name__} fits no socket: it must extend one of {_names(SOCKETS.values())}")
        return Subject(f"{kind}.{what.__name__.lower()}", kind, what, _config_of(what), given, known)
    if isinstance(what, str):
        from noisyrun.plugins import discover

        kind, _, name = what.partition(".")
        if kind not in (*SOCKETS, "lifecycle") or not name:
            raise UserError(f"{what!r}: name a plugin as KIND.NAME, such as weighter.sinet or side_info.text")
        registry = registry or discover()
        record = registry.get(kind, name).record
    else:
        record = what
        registry = Registry({(record.kind, record.name): Found(record, _NOWHERE)})
    return Subject(
        plugin_key(record.kind, record.name),
        record.kind,
        registry.factory(record.kind, record.name, SOCKETS.get(record.kind)),
        registry.config_class(record.kind, record.name),
        given,
        known,
        record,
    )


def _config_of(factory: type[Method[Any]]) -> type[PluginConfig]:
    """The configuration's class, from ``SampleWeighter[SmallLossConfig]`` among a method's bases."""
    for base in factory.__mro__:
        for written in getattr(base, "__orig_bases__", ()):
            for argument in get_args(written):
                if isinstance(argument, type) and issubclass(argument, PluginConfig):
                    return argument
    return PluginConfig


def _names(classes: Iterable[type[Any]]) -> str:
    return ", ".join(one.__name__ for one in classes)
