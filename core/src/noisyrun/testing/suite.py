"""The conformance suite: the checks a plugin has to pass, and two ways to run them.

Imports pytest only in `parametrize_with_checks`: the suite ships with noisyrun, pytest does not.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from noisyrun.engine.precision import deterministic
from noisyrun.testing.subject import DEVICES, NO_GPU, Subject, What, devices, subject
from noisyrun.testing.trial import CheckFailed

if TYPE_CHECKING:
    import pytest

F = TypeVar("F", bound=Callable[[Subject], None])

LABELS = ("prototypes", "weighter", "corrector")
METHODS = ("backbone", "side_info", *LABELS)
EVERY = (*METHODS, "lifecycle")

#: Modules that hold checks, in the order in which `checks` lists them.
_MODULES = ("record", "answers", "inputs", "sockets", "online")


@dataclass(frozen=True)
class Check:
    """One thing that every plugin of some kinds has to hold.

    Attributes
    ----------
    name
        Words joined by hyphens.
    description
        One line.
    kinds
        The kinds of plugins it concerns.
    online
        It concerns only methods that train a part of the network.
    computes
        What it finds may depend on the device.
    """

    name: str
    description: str
    kinds: tuple[str, ...]
    online: bool
    computes: bool
    run: Callable[[Subject], None] = field(repr=False, compare=False)

    def __str__(self) -> str:
        return self.name

    def __call__(self, plugin: Subject) -> None:
        """Run it.

        Raises
        ------
        Exception
            A `CheckFailed` that says what is wrong, or whatever the plugin itself raised.
        """
        with deterministic(True, torch.device(plugin.device)):
            self.run(plugin)

    def concerns(self, plugin: Subject) -> bool:
        """Whether there is anything to check on a plugin."""
        fits = plugin.kind in self.kinds and (plugin.online or not self.online)
        return fits and (self.computes or plugin.device == "cpu")


@dataclass(frozen=True)
class Conformance:
    """What `check_method` found.

    Attributes
    ----------
    plugin
        ``weighter.small-loss``.
    passed
        Names of the checks that passed; on a GPU, ``NAME on cuda``.
    failed
        What was wrong, by the same names.
    expected
        Reasons of the failures that were expected, by the same names.
    """

    plugin: str
    passed: tuple[str, ...] = ()
    failed: Mapping[str, str] = field(default_factory=dict)
    expected: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        known = f", {len(self.expected)} failed as expected" if self.expected else ""
        lines = [f"{self.plugin}: {len(self.passed)} checks passed, {len(self.failed)} failed{known}"]
        lines += [f"  {name}: {what}" for name, what in self.failed.items()]
        return "\n".join(lines)


_CHECKS: list[Check] = []


def conformance_check(
    kinds: Sequence[str] = METHODS, *, online: bool = False, computes: bool = True
) -> Callable[[F], F]:
    """Take a function into the suite: its name names the check, the first line of its docstring describes it."""

    def take(function: F) -> F:
        line = (inspect.getdoc(function) or "").splitlines()[0].rstrip(".")
        _CHECKS.append(Check(function.__name__.replace("_", "-"), line, tuple(kinds), online, computes, function))
        return function

    return take


@cache
def checks() -> tuple[Check, ...]:
    """All checks, in the order in which they run.

    Examples
    --------
    >>> "weights-are-finite-and-not-negative" in {check.name for check in checks()}
    True
    """
    for module in _MODULES:
        import_module(f"noisyrun.testing.checks_{module}")
    return tuple(_CHECKS)


def check_method(
    what: What | Subject,
    config: Mapping[str, Any] | None = None,
    expected_failures: Mapping[str, str] | None = None,
) -> Conformance:
    """Run every check that concerns a plugin, on the CPU and, where there is one, on a GPU.

    Parameters
    ----------
    what
        A `Plugin` record; ``"weighter.small-loss"`` of an installed plugin; or a method's class.
    config
        Settings in place of the defaults. Small ones (few steps, few units) keep the suite quick.
    expected_failures
        Checks that have to fail, each with the reason. One that passes is an error: the reason is gone.

    Raises
    ------
    CheckFailed
        One line for each check that failed, or that passed although it was expected to fail.

    Examples
    --------
    >>> from noisyrun.testing import check_method
    >>> print(check_method("backbone.features"))  # doctest: +ELLIPSIS
    backbone.features: ... checks passed, 0 failed
    """
    plugin = subject(what, config, expected_failures)
    _known(plugin)
    passed: list[str] = []
    failed: dict[str, str] = {}
    expected: dict[str, str] = {}
    for one in map(plugin.on, devices()):
        for check in _concerning(one):
            name = check.name if one.device == "cpu" else f"{check.name} on {one.device}"
            reason = plugin.expected_failures.get(check.name)
            try:
                check(one)
            except Exception as error:
                if reason is None:
                    failed[name] = _line(error)
                else:
                    expected[name] = reason
            else:
                if reason is None:
                    passed.append(name)
                else:
                    failed[name] = f"passes, but was expected to fail ({reason}): leave it out of expected_failures"
    found = Conformance(plugin.key, tuple(passed), failed, expected)
    if failed:
        raise CheckFailed(str(found))
    return found


def parametrize_with_checks(plugins: Iterable[What | Subject]) -> pytest.MarkDecorator:
    """A pytest mark that makes every check of every plugin a test of its own.

    An expected failure is a strict ``xfail`` with its reason. What may depend on the device is checked on a GPU, too;
    on a machine without one, a skipped test a plugin says so.

    Parameters
    ----------
    plugins
        Records, names (``"weighter.small-loss"``), classes; or what `subject` makes of one of these with settings and
        expected failures.

    Examples
    --------
    >>> from noisyrun.testing import parametrize_with_checks, subject
    >>> @parametrize_with_checks([subject("backbone.small-cnn", {"width": 4})])
    ... def test_conformance(plugin, check):
    ...     check(plugin)
    """
    import pytest

    cases = []
    for what in plugins:
        plugin = subject(what)
        _known(plugin)
        for one in map(plugin.on, DEVICES):
            wanted, ending = _concerning(one), "" if one.device == "cpu" else f"-{one.device}"
            if wanted and one.device not in devices():
                cases.append(
                    pytest.param(one, wanted[0], id=plugin.key + ending, marks=pytest.mark.skip(reason=NO_GPU))
                )
                continue
            for check in wanted:
                reason = plugin.expected_failures.get(check.name)
                marks = [] if reason is None else [pytest.mark.xfail(reason=reason, strict=True)]
                cases.append(pytest.param(one, check, id=f"{plugin.key}-{check.name}{ending}", marks=marks))
    return pytest.mark.parametrize(("plugin", "check"), cases)


def _known(plugin: Subject) -> None:
    """Refuse an expected failure of a check that does not concern the plugin: a slip of the pen would hide one."""
    concerned = {check.name for check in _concerning(plugin)}
    for name in plugin.expected_failures:
        if name not in concerned:
            raise ValueError(f"expected_failures: {plugin.key} has no check {name!r}; it has {sorted(concerned)}")


def _concerning(plugin: Subject) -> list[Check]:
    return [check for check in checks() if check.concerns(plugin)]


def _line(error: Exception) -> str:
    text = " ".join(str(error).split()) or "no message"
    return text if isinstance(error, CheckFailed) else f"{type(error).__name__}: {text}"
