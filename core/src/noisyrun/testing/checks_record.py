"""Checks of what is known of a plugin before it is made: its record and its configuration."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache

import pluggy
from pydantic import ValidationError

from noisyrun.api.config import PluginConfig
from noisyrun.api.hooks import Lifecycle
from noisyrun.api.needs import Needs
from noisyrun.api.plugin import API_VERSION, fits
from noisyrun.testing.subject import Subject
from noisyrun.testing.suite import EVERY, conformance_check
from noisyrun.testing.trial import demand

#: What would make `--help` and `noisyrun plugins` slow.
_HEAVY = ("torch", "torchvision", "mlflow", "sklearn", "scipy", "pandas", "transformers", "timm", "nltk")


@conformance_check(EVERY, computes=False)
def record_imports_no_torch(plugin: Subject) -> None:
    """The modules of the record and of the configuration import neither torch nor anything else that is slow."""
    if plugin.record is None:
        return
    module = plugin.config_class.__module__
    loaded = _loads(module)
    demand(not loaded, f"importing {module} also imports {', '.join(loaded)}: move that into the method's module")


@cache
def _loads(module: str) -> tuple[str, ...]:
    """Heavy packages that importing a module in a fresh process loads."""
    code = (
        f"import importlib, sys; sys.path[:] = {sys.path!r}; importlib.import_module({module!r}); "
        f"print(' '.join(name for name in {_HEAVY!r} if name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    demand(done.returncode == 0, f"{module} cannot be imported by itself: {done.stderr.strip().splitlines()[-1:]}")
    return tuple(done.stdout.split())


@conformance_check(EVERY, computes=False)
def record_is_complete(plugin: Subject) -> None:
    """The record fits this contract's version, says in one line what the plugin does, and names a PluginConfig."""
    record = plugin.record
    demand(issubclass(plugin.config_class, PluginConfig), f"{plugin.config_class.__name__} is no PluginConfig")
    if record is None:
        return
    demand(fits(record.api), f"written for plugin API {record.api}, this noisyrun has {API_VERSION}")
    demand(bool(record.summary.strip()), "summary: say in one line what the plugin does")
    demand("\n" not in record.summary, "summary: must be one line")


@conformance_check(EVERY, computes=False)
def config_round_trips(plugin: Subject) -> None:
    """A configuration written as JSON and read again is the same."""
    config = plugin.settings()
    back = plugin.config_class.model_validate(json.loads(json.dumps(config.model_dump(mode="json"), allow_nan=False)))
    demand(back == config, f"written as JSON and read again, {config!r} is {back!r}")


@conformance_check(EVERY, computes=False)
def config_has_defaults(plugin: Subject) -> None:
    """Every field of the configuration has a default."""
    for name, one in plugin.config_class.model_fields.items():
        demand(not one.is_required(), f"{name} has no default")


@conformance_check(EVERY, computes=False)
def config_is_frozen(plugin: Subject) -> None:
    """A configuration cannot be changed once it is made."""
    config = plugin.settings()
    for name in type(config).model_fields:
        try:
            setattr(config, name, getattr(config, name))
        except (ValidationError, AttributeError, TypeError):
            continue
        demand(False, f"{name} can be set: do not loosen frozen=True")


@conformance_check(EVERY, computes=False)
def config_refuses_unknown_keys(plugin: Subject) -> None:
    """A configuration with a key that it does not know is refused."""
    try:
        plugin.config_class.model_validate({**plugin.config, "no_such_setting": 1})
    except ValidationError:
        return
    demand(False, "takes the unknown key 'no_such_setting': do not loosen extra='forbid'")


@conformance_check(EVERY, computes=False)
def config_describes_its_fields(plugin: Subject) -> None:
    """Every field of the configuration has a description."""
    for name, one in plugin.config_class.model_fields.items():
        demand(bool((one.description or "").strip()), f"{name} has no description")


@conformance_check(computes=False)
def needs_are_told(plugin: Subject) -> None:
    """`needs` is a Needs that names known kinds of labels, and asking for it twice gives the same."""
    method = plugin.make()
    needs = method.needs
    demand(isinstance(needs, Needs), f"needs must be a Needs (got {type(needs).__name__})")
    demand(needs == method.needs, "needs: asked for twice, it differs")
    demand(bool(needs.labels), "needs.labels: must name a kind of labels")
    demand(needs.labels <= {"single", "multi"}, f"needs.labels: must be single and multi (got {sorted(needs.labels)})")


@conformance_check(("lifecycle",), computes=False)
def hooks_are_known(plugin: Subject) -> None:
    """An observer implements at least one lifecycle hook, and only arguments that the hook has."""
    manager = pluggy.PluginManager("noisyrun")
    manager.add_hookspecs(Lifecycle)
    made = plugin.make()
    try:
        manager.register(made)
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        demand(False, " ".join(str(error).split()))
    demand(bool(manager.get_hookcallers(made)), "implements no hook: mark its methods with @hookimpl")
