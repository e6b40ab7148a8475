"""The test set once more: with crops, sizes and mirror images, and with the networks of other runs.

At the end of a run, and from a finished run's folder without training.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from noisyrun import data as datasets
from noisyrun.api.errors import UserError
from noisyrun.config.flags import Flag
from noisyrun.config.resolve import RunConfig, resolve
from noisyrun.config.settings import EvalSettings
from noisyrun.data.samples import Data
from noisyrun.engine.device import device_of
from noisyrun.engine.ensemble import load_member, load_members
from noisyrun.engine.evaluate import Member, evaluate_together
from noisyrun.engine.views import Views
from noisyrun.engine.world import ALONE, World
from noisyrun.plan import refuse_views
from noisyrun.registry import Registry
from noisyrun.report.console import Console
from noisyrun.run_folder import CONFIG, RunFolder

#: Settings of a finished run that an evaluation of it may change.
OPTIONS = ("eval", "device", "data.test", "data.root", "data.workers", "train.amp")


def evaluate(
    folder: Path | str,
    settings: Mapping[str, Any] | None = None,
    *,
    args: Sequence[Flag] = (),
    registry: Registry | None = None,
    console: Console | None = None,
) -> dict[str, Any]:
    """Evaluate a finished run on its test set, without training: the network as it stood after the last epoch.

    Parameters
    ----------
    folder
        The run's folder.
    settings
        Settings of evaluation in place of the run's own, by name:
        ``{"eval.crops": 10, "eval.ensemble": ["runs/a", "runs/b"], "data.test": "other/"}``.
    args
        The same as flags.
    registry
        The plugins; discovered by default.
    console
        Who is told; nobody by default.

    Returns
    -------
    dict
        Fields of `noisyrun.report.summary.Evaluation`: ``plain``, measures of the network alone on images as they are;
        ``test`` and ``val``, measures averaged over views and networks; what was shown, and the seconds it took.

    Raises
    ------
    UserError
        In one line, when the folder holds no finished run, or something does not fit.

    Examples
    --------
    >>> import noisyrun
    >>> found = noisyrun.evaluate("runs/NAME", {"eval.crops": 10})  # doctest: +SKIP
    >>> found["test"]["accuracy"] - found["plain"]["accuracy"]  # doctest: +SKIP
    """
    folder, console = Path(folder), console or Console(quiet=True)
    RunFolder.open(folder)
    _refuse_others([*(settings or {}), *(flag.name for flag in args)])
    config = resolve(settings, args=args, config=folder / CONFIG, registry=registry)
    run = config.settings
    device = device_of(run.device)
    data = datasets.load(run, to_train=False)
    refuse_views(run.eval, data.train)
    own = load_member(folder, data, run, device)
    members = [own, *load_members(run.eval.ensemble, data, run, device)]
    if data.test is None:
        raise UserError(f"{folder}: the run has no test set to evaluate on; name one with --data.test PATH")
    plain = evaluate_together([own], {"test": data.test}, Views())
    record = evaluated(members, data, run.eval, plain["test"])
    console.evaluation(record)
    return record


def asked(settings: EvalSettings) -> bool:
    """Whether the settings ask for more than one network that sees each image as it is."""
    return bool(settings.ensemble) or not Views.of(settings).plain


def evaluated(
    members: Sequence[Member],
    data: Data,
    settings: EvalSettings,
    plain: Mapping[str, float],
    baseline: Member | None = None,
    world: World = ALONE,
) -> dict[str, Any]:
    """Evaluate with the views that the settings ask for; fields of `noisyrun.report.summary.Evaluation`.

    Parameters
    ----------
    members
        The run's own network, and those of its ensemble.
    plain
        Measures on the test set of the first network alone, on images as they are.
    baseline
        The network of plain cross entropy, which is shown the same views; an ensemble is none of its business.
    world
        The processes that share the samples.
    """
    views, began = Views.of(settings), time.perf_counter()
    found = evaluate_together(members, {"test": data.test, "val": data.val}, views, world)
    seconds = time.perf_counter() - began
    beside: dict[str, float] = {}
    if baseline is not None and not views.plain and len(members) == 1:
        beside = evaluate_together([baseline], {"test": data.test}, views, world).get("test", {})
    networks = f"{len(members)} networks" if len(members) > 1 else ""
    return {
        "shown": ", ".join(part for part in (views.words, networks) if part),
        "views": views.count,
        "ensemble": [str(folder) for folder in settings.ensemble],
        "plain": dict(plain),
        "test": found.get("test", {}),
        "val": found.get("val", {}),
        "baseline": beside,
        "seconds": seconds,
    }


def at_the_end(
    config: RunConfig,
    data: Data,
    own: Member,
    baseline: Member | None,
    last: Mapping[str, Any],
    world: World = ALONE,
) -> dict[str, Any] | None:
    """What a run reports beside its plain figures; None where its settings ask for nothing more.

    Parameters
    ----------
    last
        The record of the last epoch.
    world
        The processes that share the samples.
    """
    settings = config.settings
    if not asked(settings.eval):
        return None
    members = [own, *load_members(settings.eval.ensemble, data, settings, own.view.device)]
    plain = {name.removeprefix("test_"): value for name, value in last.items() if name.startswith("test_")}
    return evaluated(members, data, settings.eval, plain, baseline, world)


def _refuse_others(names: Sequence[str]) -> None:
    from noisyrun.suggest import did_you_mean

    for name in names:
        plain = name.replace("-", "_")
        if not any(plain == option or plain.startswith(f"{option}.") for option in OPTIONS):
            hint = did_you_mean(name, OPTIONS)
            raise UserError(f"{name}: nothing that evaluating a finished run can change{hint}: {', '.join(OPTIONS)}")
