"""What the files of a results folder say of each position, and of which others it can be held against."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from noisyrun.api.errors import UserError
from noisyrun.bench import stats
from noisyrun.bench.measures import Measure
from noisyrun.bench.stats import Paired
from noisyrun.bench.store import CELL, SUITE, Expanded, Place, Result, Results, is_volatile, unreadable
from noisyrun.bench.suite import Suite, contradictions

#: What of a machine changes how long a run takes.
MACHINE = ("host", "processor", "gpu", "device", "cores", "threads")


class _Part(BaseModel):
    """Base of what a report reads of a cell's files, which may come from anyone."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)


class _Lineage(_Part):
    verified: int | None = None
    clean: int | None = None


class _Data(_Part):
    classes: int | None = None
    train: int | None = None
    val: int | None = None
    test: int | None = None
    digests: dict[str, str] | None = None
    lineage: _Lineage | None = None


class _Epoch(_Part):
    epoch: int


class _Class(_Part):
    name: str
    accuracy: float | None = None
    observed: float | None = None
    called_wrong: float | None = None
    wrong: float | None = None


class _Summary(_Part):
    data: _Data | None = None
    config: dict[str, Any] | None = None
    versions: dict[str, str] | None = None
    history: list[_Epoch] | None = None
    rounds: list[_Epoch] | None = None
    per_class: list[_Class] | None = None


class _Identity(_Part):
    config: dict[str, Any] | None = None
    versions: dict[str, str] | None = None
    code: dict[str, str] | None = None


@dataclass(frozen=True)
class Evidence:
    """A position, and what came of its cell.

    Attributes
    ----------
    place
        The position.
    result
        What came of it; None while it has not ended.
    summary
        The run's own summary; empty where there is none.
    what
        The cell's identity: configuration, data, versions, code; empty where it is not kept.
    config
        The resolved configuration by dotted name.
    """

    place: Place
    result: Result | None
    summary: Mapping[str, Any] = field(repr=False)
    what: Mapping[str, Any] = field(repr=False)
    config: Mapping[str, Any] = field(repr=False)

    @property
    def finished(self) -> bool:
        """Whether it has a result."""
        return self.result is not None and self.result.status == "finished"

    @property
    def measures(self) -> Mapping[str, float]:
        """Every number that was measured, by key; empty where it has no result."""
        return self.result.measures if self.result is not None and self.result.status == "finished" else {}

    @property
    def problem(self) -> str:
        """Why it has no result; empty where it has one."""
        if self.result is None:
            return "pending"
        if self.finished:
            return ""
        return f"{self.result.status}: {self.result.error}" if self.result.error else self.result.status

    @property
    def data(self) -> Mapping[str, Any]:
        """What the summary says of the data."""
        return self.summary.get("data") or {}

    @property
    def machine(self) -> tuple[str, ...]:
        """What of its machine changes how long a run takes."""
        found = self.result.machine if self.result else {}
        return tuple(str(found.get(name, "")) for name in MACHINE)

    @property
    def packages(self) -> dict[str, str]:
        """Versions and digests of code, by package."""
        versions = {str(name): str(of) for name, of in (self.what.get("versions") or {}).items()}
        return versions | {f"code of {name}": str(of) for name, of in (self.what.get("code") or {}).items()}

    def plugins(self, kind: str) -> tuple[str, ...]:
        """Names of the plugins in a socket."""
        prefix = f"{kind}."
        return tuple(dict.fromkeys(name.split(".")[1] for name in self.config if name.startswith(prefix)))


@dataclass(frozen=True)
class Table:
    """All evidence of a suite.

    Attributes
    ----------
    suite
        The suite.
    evidence
        By comparison, by method, in the order of the suite; one for every seed.
    overrides
        Settings that the command laid over all cells.
    """

    suite: Suite
    evidence: Mapping[str, Mapping[str, tuple[Evidence, ...]]]
    overrides: Mapping[str, Any] = field(default_factory=dict)

    @property
    def reference(self) -> str | None:
        """The method that is plain cross entropy; None in a detection."""
        return self.suite.reference

    def rows(self) -> Iterator[tuple[str, str, tuple[Evidence, ...]]]:
        """Comparison, method, and what is there of every seed."""
        for comparison, methods in self.evidence.items():
            for method, found in methods.items():
                yield comparison, method, found

    def finished(self, comparison: str, method: str) -> tuple[Evidence, ...]:
        """What has a result, by seed."""
        return tuple(one for one in self.evidence.get(comparison, {}).get(method, ()) if one.finished)

    def values(self, comparison: str, method: str, key: str) -> dict[int, float]:
        """A measure by seed, of the seeds that have it."""
        return {one.place.seed: one.measures[key] for one in self.finished(comparison, method) if key in one.measures}

    def pairs(self, methods: Sequence[str], key: str, comparisons: Sequence[str]) -> list[dict[tuple[str, int], float]]:
        """A measure by (comparison, seed), for every method, of the pairs that all of them have.

        Where seeds change nothing of any of the methods, the first seed stands for all: copies are no evidence.
        """
        found: list[dict[tuple[str, int], float]] = [{} for _ in methods]
        for comparison in comparisons:
            values = [self.values(comparison, method, key) for method in methods]
            seeds = [seed for seed in values[0] if all(seed in one for one in values)]
            if all(self.copies(comparison, method) for method in methods):
                seeds = seeds[:1]
            for one, own in zip(found, values):
                one |= {(comparison, seed): own[seed] for seed in seeds}
        return found

    def compare(self, method: str, other: str, measure: Measure, comparisons: Sequence[str]) -> Paired | None:
        """One method against another over the pairs that both have; None where there is none."""
        own, others = self.pairs((method, other), measure.key, comparisons)
        return stats.paired(own, others, measure.higher is not False)

    def copies(self, comparison: str, method: str) -> bool:
        """Whether several seeds gave the same in all but times and memory: they are one measurement."""
        lasting = [
            {key: value for key, value in one.measures.items() if not is_volatile(key)}
            for one in self.finished(comparison, method)
        ]
        return len(lasting) > 1 and bool(lasting[0]) and all(one == lasting[0] for one in lasting)

    def whole(self, comparison: str, method: str, key: str) -> bool:
        """Whether a measure is there for every seed."""
        return len(self.values(comparison, method, key)) == len(self.suite.seeds)

    def partner(self, evidence: Evidence) -> Evidence | None:
        """What a position is held against: plain cross entropy with the same seed, in a detection the first method."""
        methods = self.evidence[evidence.place.comparison]
        name = self.reference or next(iter(methods))
        return next(
            (one for one in methods.get(name, ()) if one.place.seed == evidence.place.seed and one.finished), None
        )

    def cost(self, comparison: str, method: str) -> float | None:
        """Seconds as a multiple of plain cross entropy's, over the seeds that both ran on the same machine."""
        key, own, other = "seconds.total", 0.0, 0.0
        for one in self.finished(comparison, method):
            partner = self.partner(one)
            if partner is not None and partner.machine == one.machine and key in one.measures:
                own += one.measures[key]
                other += partner.measures.get(key, 0.0)
        return own / other if self.reference and own and other else None


def read(results: Results, expanded: Expanded) -> Table:
    """Everything a results folder says of the positions of a suite; every cell is read once.

    Raises
    ------
    UserError
        When the folder and its suite contradict each other, or a file does not hold what it should.
    """
    if wrong := next(contradictions(expanded.suite), None):
        raise UserError(f"{results.path / SUITE}: {wrong}")
    methods, data = {entry.name for entry, _ in expanded.suite.methods}, {one.name for one in expanded.suite.data}
    for place in expanded.places:
        if place.method not in methods or place.data not in data:
            raise UserError(
                f"{results.path}: its suite has no {place.method} on {place.data}: run noisyrun bench again"
            )
    known: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {}
    table: dict[str, dict[str, list[Evidence]]] = {}
    for place, result in results.results(expanded.places):
        if place.cell not in known:
            summary = results.summary(place.cell) if result is not None else {}
            what = results.identity(place.cell)
            _check(_Summary, summary, results.run(place.cell) / "summary.json")
            _check(_Identity, what, results.cell(place.cell) / CELL)
            known[place.cell] = summary, what, flat(summary.get("config") or what.get("config") or {})
        found = Evidence(place, result, *known[place.cell])
        table.setdefault(place.comparison, {}).setdefault(place.method, []).append(found)
    evidence = {name: {of: tuple(one) for of, one in rows.items()} for name, rows in table.items()}
    return Table(expanded.suite, evidence, expanded.overrides)


def _check(model: type[BaseModel], content: Mapping[str, Any], path: Path) -> None:
    try:
        model.model_validate(content)
    except ValidationError as error:
        raise unreadable(path, error) from None


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted name; empty tables and lists as they are."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}.{key}" if prefix else str(key)
        if isinstance(value, Mapping) and value:
            found |= flat(value, name)
        else:
            found[name] = value
    return found


@dataclass(frozen=True)
class Uses:
    """Which labels methods learn from beside the noisy ones, as their plugins say; asked once a configuration."""

    known: dict[str, frozenset[str] | None] = field(default_factory=dict)

    def of(self, evidence: Evidence) -> frozenset[str] | None:
        """``verification`` and ``clean``, where a method or a stage needs them; None where that cannot be told."""
        config = evidence.summary.get("config") or evidence.what.get("config")
        if not config:
            return None
        sockets = ("side_info", "prototypes", "weighter", "corrector", "train", "stages")
        key = json.dumps([config.get(name) for name in sockets], sort_keys=True, default=str)
        if key not in self.known:
            self.known[key] = _needs(config)
        return self.known[key]


def _needs(config: Mapping[str, Any]) -> frozenset[str] | None:
    from noisyrun import plan
    from noisyrun.config.resolve import RunConfig

    try:
        methods = plan.make_methods(RunConfig.from_dict(config))
    except Exception:  # a plugin that is not installed here, or not as it was
        return None
    found = {name for method in methods for name in ("verification", "clean") if getattr(method.needs, name)}
    mixes = any(one.needs.batches is not None and one.needs.batches.kind == "mix" for one in methods)
    stages = config.get("stages") or ()
    tuned = (config.get("train") or {}).get("finetune_epochs")
    if mixes or tuned or any(_on_clean(stage) for stage in stages):
        found.add("clean")
    if any(stage.get("samples") == "verified" for stage in stages):
        found.add("verification")
    return frozenset(found)


def _on_clean(stage: Mapping[str, Any]) -> bool:
    mixed = str(stage.get("batches") or "").startswith("mix")
    return mixed or stage.get("samples") == "clean" or stage.get("targets") in ("trusted", "mixed")
