"""Which methods fit which: docs/composition.md, made by the machinery that plans a run.

python scripts/composition.py
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from noisyrun import plan as plans
from noisyrun.api import Labels, PluginConfig, SideInfoEncoder, Task, UserError
from noisyrun.data.images import ResidentImages
from noisyrun.data.samples import Samples
from noisyrun.methods import Methods
from noisyrun.plugins import discover
from noisyrun.registry import NOUNS, Registry
from noisyrun.testing.fixtures import SIDE, make_world

PAGE = Path(__file__).resolve().parents[1] / "docs" / "composition.md"
SOCKETS = ("prototypes", "weighter", "corrector")
FLAGS = {"prototypes": "--prototypes", "weighter": "--weighter", "corrector": "--corrector"}

HEAD = """# What fits with what

Weighters take any builder's prototypes, correctors work beside any weighter, and all of them stack
(`--weighter urnet-class,sinet`). The few that cannot work together are refused before training, in one line. This page
is made by the machinery that plans a run: `python scripts/composition.py`. The tests train every combination of one
builder, one weighter and one corrector, every two correctors, and all weighters at once that agree on batches
(`tests/test_composition.py`).
"""


class _Giver(SideInfoEncoder[PluginConfig]):
    """Stands for encoders that give all side information."""

    key = "side_info.all"
    gives = frozenset(SIDE)


def samples(rich: bool, multi: bool = False) -> Samples:
    """Images with nothing but labels; or with all that a method may ask for."""
    world = make_world(40, 4, multi=multi)
    n = len(world)
    none = torch.full((n, 1), -1)
    return Samples(
        task=Task(world.names, "multi" if multi else "single", image_size=(8, 8), channels=1),
        index=world.index,
        labels=world.labels,
        verified=world.verified if rich else torch.full((n,), -1, dtype=torch.int8),
        verified_held=world.held & rich,
        trusted=Labels(torch.where(world.clean.unsqueeze(1), world.truth.classes, -1) if rich else none),
        clean=world.clean & rich,
        text=world.text() if rich else replace(world.text(), titles=None, tags=None),
        images=ResidentImages(torch.zeros(n, 1, 8, 8, dtype=torch.uint8)),
        source=world.source if rich else None,
        source_names=("google", "flickr") if rich else (),
        rank=world.rank if rich else None,
    )


class Composer:
    """Asks the plan about methods that are installed."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self.names = {kind: registry.names(kind) for kind in SOCKETS}
        self.bare, self.rich, self.multi = samples(False), samples(True), samples(True, multi=True)

    def methods(self, *chosen: tuple[str, str | None], side: bool = True) -> Methods:
        """The methods of some sockets, under their defaults."""
        made: dict[str, list[Any]] = {kind: [] for kind in SOCKETS}
        for kind, name in chosen:
            if name is not None:
                method = self.registry.factory(kind, name)(self.registry.config_class(kind, name)())
                method.key = f"{kind}.{name}"
                made[kind].append(method)
        return Methods(
            side_info=(_Giver(PluginConfig()),) if side else (),
            prototypes=next(iter(made["prototypes"]), None),
            weighters=tuple(made["weighter"]),
            correctors=tuple(made["corrector"]),
        )

    def refusal(self, *chosen: tuple[str, str | None]) -> str:
        """Why a run that offers everything refuses these methods, as the run says it; empty where it does not."""
        methods = self.methods(*chosen)
        try:
            plans.one_head(methods)
            plans.agreed_batches(methods)
        except UserError as error:
            return str(error)
        names = [kept for method in methods if (kept := method.needs.predictions) is not None]
        needs = plans.method_needs(methods, self.rich, names, False, self.registry)
        return "; ".join(dict.fromkeys(str(need) for need in needs if not need.met))

    def asks(self, kind: str, name: str) -> list[tuple[str, str]]:
        """What a method asks for beyond images and labels, and how it is given."""
        methods = self.methods((kind, name), side=False)
        needs = plans.method_needs(methods, self.bare, (), True, self.registry)
        return [(need.what, need.how) for need in needs if not need.met]

    def several(self, kind: str, name: str) -> bool:
        """Whether a method takes several labels a sample."""
        methods = self.methods((kind, name))
        names = [kept for method in methods if (kept := method.needs.predictions) is not None]
        builder = ("prototypes", self.names["prototypes"][0])
        if methods.prototypes is None:
            methods = replace(methods, prototypes=self.methods(builder).prototypes)
        needs = plans.method_needs(methods, self.multi, names, False, self.registry)
        return all(need.met for need in needs if need.method == f"{kind}.{name}")


def page(registry: Registry | None = None) -> str:
    """The text of the page."""
    composer = Composer(registry or discover())
    reasons: dict[str, int] = {}
    parts = [HEAD, "\n".join(_asks(composer)), "\n".join(_triples(composer))]
    for title, rows, columns in (
        ("Weighters on prototypes", "weighter", "prototypes"),
        ("Correctors on prototypes", "corrector", "prototypes"),
        ("Weighters beside correctors", "weighter", "corrector"),
        ("Weighters that stack", "weighter", "weighter"),
        ("Correctors that stack", "corrector", "corrector"),
    ):
        parts.append("\n".join(_matrix(composer, title, rows, columns, reasons)))
    notes = [f"{number}. {_escaped(reason)}" for reason, number in reasons.items()]
    parts.append("\n".join(["## Why", "", "As the run itself says it:", "", *notes]))
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _asks(composer: Composer) -> Iterator[str]:
    yield "## What each asks for"
    yield ""
    yield "Beside images (or features) and their labels, with the method's defaults."
    yield ""
    yield "| method | socket | asks for | several labels a sample |"
    yield "| --- | --- | --- | --- |"
    for kind in SOCKETS:
        for name in composer.names[kind]:
            asked = "; ".join(f"{what} ({how})" for what, how in composer.asks(kind, name)) or "nothing"
            several = "yes" if composer.several(kind, name) else "refused"
            yield f"| `{name}` | {NOUNS[kind]} | {_escaped(asked)} | {several} |"


def _triples(composer: Composer) -> Iterator[str]:
    names = [[None, *composer.names[kind]] for kind in SOCKETS]
    said: Counter[bool] = Counter()
    for triple in itertools.product(*names):
        chosen = list(zip(SOCKETS, triple))
        refused = bool(composer.refusal(*chosen))
        # The tables below show two sockets at a time: they say all there is as long as no refusal needs three.
        shown = [composer.refusal(*pair) for pair in (chosen[:2], chosen[::2])]
        shown.append(composer.refusal(("prototypes", composer.names["prototypes"][-1]), *chosen[1:]))
        assert refused == any(shown), triple
        said[refused] += 1
    each = " × ".join(f"{len(some)} {NOUNS[kind]}s" for kind, some in zip(SOCKETS, names))
    yield "## How many"
    yield ""
    yield (
        f"{each}, none of each included, are {said.total()} combinations of one each. On data that offers everything, "
        f"{said[False]} run and {said[True]} are refused; the tables say which, since no refusal needs three."
    )


def _matrix(composer: Composer, title: str, rows: str, columns: str, reasons: dict[str, int]) -> Iterator[str]:
    across: Sequence[str | None] = composer.names[columns] if rows == columns else [None, *composer.names[columns]]
    # Whatever needs prototypes gets some, where prototypes are not what the table is about.
    builder = () if columns == "prototypes" else (("prototypes", composer.names["prototypes"][-1]),)
    yield f"## {title}"
    yield ""
    yield "| | " + " | ".join("none" if name is None else f"`{name}`" for name in across) + " |"
    yield "| --- |" + " --- |" * len(across)
    for row in composer.names[rows]:
        cells = []
        for column in across:
            if rows == columns and row == column:
                cells.append("")
                continue
            why = composer.refusal(*builder, (rows, row), (columns, column))
            cells.append(f"[{reasons.setdefault(why, len(reasons) + 1)}](#why)" if why else "runs")
        yield f"| `{row}` | " + " | ".join(cells) + " |"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
