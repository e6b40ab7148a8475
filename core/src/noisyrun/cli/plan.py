"""``noisyrun plan``: what a run would do, without doing it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from noisyrun.api.errors import UserError
from noisyrun.api.needs import UNIFORM
from noisyrun.api.plugin import KINDS
from noisyrun.cli.common import configure, wants_help
from noisyrun.config import flags
from noisyrun.printable import printable
from noisyrun.registry import FLAGS

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from noisyrun.cost import Cost
    from noisyrun.data.samples import Data
    from noisyrun.plan import Plan

USAGE = """\
noisyrun plan [OPTIONS OF A RUN] [--json] [--no-cost]

Show which plugin sits in which socket, whether data and run offer what each needs, the data, the stages,
and what the run will cost: a few steps are timed on the run's device. Nothing is written.
Exit code 2 when a need is not met.

  --json     as JSON
  --no-cost  leave the timing out"""


def main(words: list[str]) -> int:
    """Show a plan."""
    if wants_help(words):
        print(USAGE)
        return 0
    given = flags.parse(words)
    as_json, cheap = flags.take_switch(given, "json"), flags.take_switch(given, "no-cost")
    config = configure(given)
    from noisyrun import data as sources
    from noisyrun.cost import estimate
    from noisyrun.engine.device import device_of
    from noisyrun.engine.ensemble import load_members
    from noisyrun.plan import examine, make_methods

    methods = make_methods(config)
    data = sources.load(config.settings)
    plan = examine(config, methods, data)
    # Refuses what a run would refuse; the networks are not kept.
    load_members(config.settings.eval.ensemble, data, config.settings, device_of(config.settings.device))
    cost = None if cheap else estimate(plan, data)
    if as_json:
        print(json.dumps(_record(plan, data, cost), indent=2))
    else:
        _show(plan, data, cost)
    if problems := plan.problems():
        raise UserError("\n".join(problems))
    return 0


def _record(plan: Plan, data: Data, cost: Cost | None) -> dict[str, Any]:
    return {
        "config": plan.config.as_dict(),
        "data": {"name": data.name, "notes": list(data.notes), **dict(_sizes(data))},
        "stages": [stage.model_dump(mode="json") for stage in plan.stages],
        "needs": [vars(need) for need in plan.needs],
        "batches": str(plan.batches),
        "cost": None if cost is None else vars(cost) | {"total": cost.total},
    }


def _sizes(data: Data) -> list[tuple[str, str]]:
    """What there is to know of the data, as pairs."""
    train, task = data.train, data.task
    parts = [("train", data.train), ("noisy validation", data.val), ("test", data.test)]
    rows = [("samples", ", ".join(f"{len(part):,} {name}" for name, part in parts if part is not None))]
    names = ", ".join(task.classes[:8]) + (", …" if task.num_classes > 8 else "")
    rows.append(("classes", f"{task.num_classes} ({task.labels}-label): {names}"))
    if task.image_size is not None:
        rows.append(("images", f"{task.channels} × {task.image_size[0]} × {task.image_size[1]}"))
    elif train.features is not None:
        rows.append(("features", f"{train.features.shape[1]} wide"))
    if train.truth is not None and not task.multi:
        wrong = float((train.truth.single != train.labels.single).float().mean())
        rows.append(("wrong labels", f"{wrong:.1%} of the training samples, known for measures only"))
    return rows


def _show(plan: Plan, data: Data, cost: Cost | None) -> None:
    from rich.console import Console
    from rich.markup import escape

    console = Console(highlight=False)
    console.print(f"[bold]Data[/]  {escape(data.name)}")
    console.print(_grid([(what, escape(printable(text))) for what, text in _sizes(data)]))
    console.print(_grid([("note", escape(printable(note))) for note in (*data.notes, *plan.config.notes)]))
    console.print("\n[bold]Sockets[/]")
    console.print(_sockets(plan))
    if waiting := [need for need in plan.needs if need.method.startswith("stage ")]:
        console.print(_grid([(escape(need.method), _mark(need.met) + need.what) for need in waiting]))
    console.print("\n[bold]Stages[/]")
    console.print(_stages(plan, data))
    if cost is not None:
        console.print(f"\n[bold]Cost[/]  estimated on {cost.device}, without what the methods compute on the features")
        console.print(_grid(_cost(cost)))
    _rule(console, plan)


def _rule(console: Console, plan: Plan) -> None:
    met = "[green]Everything that is needed is there.[/]"
    console.print()
    console.print("[red]Not everything that is needed is there:[/]" if plan.problems() else met)


def _grid(rows: list[tuple[str, str]]) -> Table:
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in rows:
        table.add_row(f"  {name}", text)
    return table


def _mark(met: bool) -> str:
    return "[green]✓[/] " if met else "[red]✗[/] "


def _sockets(plan: Plan) -> Table:
    from rich.table import Table

    table = Table(box=None, padding=(0, 2), header_style="dim")
    for name in ("socket", "plugin", "from", "needs"):
        table.add_column(name, overflow="fold")
    for kind in KINDS:
        names = list(plan.config.sockets[kind])
        if not names:
            table.add_row(FLAGS[kind], "[dim]–[/]", "", "")
        for name in names:
            needs = [_mark(need.met) + need.what for need in plan.needs if need.method == f"{kind}.{name}"]
            table.add_row(
                FLAGS[kind], f"[bold]{name}[/]", _home(plan, kind, name), ", ".join(needs) or "[dim]nothing[/]"
            )
    return table


def _home(plan: Plan, kind: str, name: str) -> str:
    return str(plan.config.registry.get(kind, name).source)


def _stages(plan: Plan, data: Data) -> Table:
    from rich.markup import escape
    from rich.table import Table

    from noisyrun.cost import label_phases
    from noisyrun.engine.stages import batches_of

    table = Table(box=None, padding=(0, 2), header_style="dim")
    for name in ("stage", "length", "samples", "trains", "label phases", "learning rate"):
        table.add_column(name)
    train = plan.config.settings.train
    for stage in plan.stages:
        length = f"{stage.epochs} epochs" if stage.epochs else f"{stage.steps:,} steps"
        samples = stage.samples if stage.targets == "corrected" else f"{stage.samples}, {stage.targets} labels"
        drawn = batches_of(stage, plan.batches)
        samples += "" if drawn == UNIFORM else f", {drawn}"
        trains = stage.trains if stage.online else f"{stage.trains}, without parts"
        phases = label_phases(stage, data.train, plan.config.settings.batch_size)
        when = f"{phases}, {stage.label_phase}" if phases else "–"
        optimizer, schedule = stage.optimizer or train.optimizer, stage.schedule or train.schedule
        rate = f"{optimizer.lr:g} {schedule.name} ({optimizer.name})"
        table.add_row(f"[bold]{escape(stage.name)}[/]", length, samples, trains, when, rate)
    return table


def _cost(cost: Cost) -> list[tuple[str, str]]:
    from noisyrun.report.numbers import seconds, size

    rows = [
        ("time", f"about [bold]{seconds(cost.total)}[/]"),
        ("training", f"{seconds(cost.training)}: {cost.steps:,} steps of {1000 * cost.step:.1f} ms"),
        ("evaluation", seconds(cost.evaluation)),
        ("parameters", f"{cost.parameters:,}"),
    ]
    if cost.rounds:
        rows.insert(2, ("features", f"{seconds(cost.features)} for {cost.rounds} label phases"))
        rows.append(("feature bank", f"{size(cost.bank)}, in {_PLACES[cost.residence]}"))
    return rows


_PLACES = {"gpu": "the GPU's memory", "memory": "memory", "disk": "a file"}
