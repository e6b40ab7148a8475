"""The rules of a fair comparison, each a small function that marks what breaks it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from noisyrun.bench.evidence import Evidence, Table, Uses, flat
from noisyrun.bench.measures import Measure
from noisyrun.builtin import DEFAULT_BACKBONE


@dataclass(frozen=True)
class Mark:
    """What a reader of a row must know. It stands in every table and cannot be switched off.

    Attributes
    ----------
    code
        Name of the rule: ``slow``, ``trusted-labels``.
    sign
        One or two characters for a cell of a table.
    text
        One line.
    breaks
        True where it breaks a rule of the suite; False for what the suite permits, and a reader still should know.
    comparison, method
        Where it holds; None for all.
    """

    code: str
    sign: str
    text: str
    breaks: bool = True
    comparison: str | None = None
    method: str | None = None


#: Sign of every rule.
SIGNS: Mapping[str, str] = {
    "overrides": "S",
    "unfinished": "N",
    "copies": "1",
    "reference": "R",
    "data": "D",
    "backbone": "B",
    "augmentation": "A",
    "training": "E",
    "evaluation": "Q",
    "verification": "V",
    "trusted-labels": "C",
    "oracle": "O",
    "tuned": "T",
    "slow": "X",
    "machine": "M",
    "pretrained": "P",
    "versions": "K",
}

#: Settings in which a method may differ from plain cross entropy: they are of what judges labels, or change nothing.
OWN = (
    *("side_info", "prototypes", "weighter", "corrector", "bank", "weights", "corrections"),
    *("train.warmup_epochs", "train.label_phase_every", "verify", "clean", "data.clean_pairs"),
    *("seed", "out", "lifecycle", "strict", "baseline", "recipe", "device"),
    *("data.workers", "train.checkpoint_every", "train.log_every", "eval.batch_size"),
)

#: Which rule a setting falls under; by the longest head that fits.
RULE_OF: Mapping[str, str] = {
    "backbone": "backbone",
    "augment": "augmentation",
    "train": "training",
    "epochs": "training",
    "batch_size": "training",
    "stages": "training",
    "eval": "evaluation",
    "dataset": "data",
    "noise": "data",
    "data": "data",
}

SAYS = {
    "backbone": "another backbone",
    "augmentation": "other augmentation",
    "training": "trains otherwise",
    "evaluation": "is evaluated otherwise",
    "data": "other data",
}

#: Settings that are named by comparisons and not by methods.
PLACE = ("dataset", "noise", "seed", "data")


@dataclass(frozen=True)
class Case:
    """What the rules judge."""

    table: Table
    headline: Measure
    uses: Uses

    @property
    def other(self) -> str:
        """What a method is held against, in words."""
        return "plain cross entropy" if self.table.reference else "the first method"

    def mark(
        self, code: str, text: str, comparison: str | None, method: str | None = None, *, breaks: bool = True
    ) -> Mark:
        """A mark with the sign of its rule."""
        return Mark(code, SIGNS[code], text, breaks, comparison, method)

    def pairs(self, found: Iterable[Evidence]) -> Iterator[tuple[Evidence, Evidence]]:
        """What has a result, with what it is held against; nothing is held against itself."""
        for one in found:
            partner = self.table.partner(one) if one.finished else None
            if partner is not None and partner.place.method != one.place.method:
                yield one, partner


def marks(table: Table, headline: Measure) -> tuple[Mark, ...]:
    """Everything that a reader must know, in the order of the rules."""
    case = Case(table, headline, Uses())
    return tuple(mark for rule in RULES for mark in rule(case))


@dataclass(frozen=True)
class Note:
    """The same mark of one method in several comparisons, as a line below a table.

    Attributes
    ----------
    sign, text, breaks, method
        As of the marks.
    comparisons
        Where it holds; empty for all.
    """

    sign: str
    text: str
    breaks: bool
    method: str | None
    comparisons: tuple[str, ...]


def notes(marks: Iterable[Mark]) -> list[Note]:
    """The lines below a table: each text once, with the comparisons it holds in."""
    found: dict[tuple[str, str, bool, str | None], list[str]] = {}
    for mark in marks:
        where = found.setdefault((mark.sign, mark.text, mark.breaks, mark.method), [])
        where += [mark.comparison] if mark.comparison else []
    return [Note(sign, text, breaks, method, tuple(where)) for (sign, text, breaks, method), where in found.items()]


def _unfinished(case: Case) -> Iterator[Mark]:
    """Every method has all seeds."""
    for comparison, method, found in case.table.rows():
        problems: dict[str, list[int]] = {}
        for one in found:
            if not one.finished:
                problems.setdefault(one.problem, []).append(one.place.seed)
        if problems:
            have = sum(one.finished for one in found)
            listed = "; ".join(f"{_seeds(seeds)} {problem}" for problem, seeds in problems.items())
            yield case.mark("unfinished", f"{have} of {len(found)} seeds: {listed}", comparison, method)


def _copies(case: Case) -> Iterator[Mark]:
    """Seeds are measurements of their own."""
    text = "the seeds change nothing: they are one measurement, and of noise nothing is known"
    for comparison, methods in case.table.evidence.items():
        found = [method for method in methods if case.table.copies(comparison, method)]
        if len(found) == len(methods):
            yield case.mark("copies", text, comparison, breaks=False)
        else:
            yield from (case.mark("copies", text, comparison, method, breaks=False) for method in found)


def _overrides(case: Case) -> Iterator[Mark]:
    """What ran is what the suite says."""
    if case.table.overrides:
        yield case.mark("overrides", f"the command changed the suite: {_listed(flat(case.table.overrides))}", None)


def _reference(case: Case) -> Iterator[Mark]:
    """Plain cross entropy is a row, and is plain."""
    name = case.table.reference
    if name is None:
        return
    own: Mapping[str, Any] = {}
    for entry in case.table.suite.method:
        if entry.name == name:
            own = flat(entry.settings)
            own |= {key: value for on in entry.on for key, value in flat(on.settings).items()}
    for comparison in case.table.evidence:
        found = case.table.finished(comparison, name)
        if not found:
            yield case.mark("reference", "plain cross entropy has no result: nothing to compare with", comparison)
        elif not case.table.values(comparison, name, case.headline.key):
            text = f"plain cross entropy has no {case.headline.title}: nothing to compare with"
            # Who judges no label corrects none and finds none: that is no fault.
            expected = case.headline.group not in ("labels", "detection")
            yield case.mark("reference", text, comparison, breaks=expected)
        if any(one.plugins("weighter") or one.plugins("corrector") for one in found):
            text = "what stands as plain cross entropy has a plugin that judges labels"
            yield case.mark("reference", text, comparison, name)
        if own:
            text = f"plain cross entropy has settings of its own: {_listed(own)}"
            yield case.mark("reference", text, comparison, name, breaks=False)


def _data(case: Case) -> Iterator[Mark]:
    """The same labels, noise, inputs, and sizes of training, validation and test set."""
    for comparison, method, found in case.table.rows():
        differ: dict[str, list[int]] = {}
        for one, partner in case.pairs(found):
            ours, theirs = _facts(one), _facts(partner)
            for name in {**ours, **theirs}:
                if ours.get(name) != theirs.get(name):
                    differ.setdefault(name, []).append(one.place.seed)
        if differ:
            listed = ", ".join(f"{name} ({_seeds(seeds)})" for name, seeds in differ.items())
            yield case.mark("data", f"other data than {case.other}: {listed}", comparison, method)


def _facts(evidence: Evidence) -> dict[str, Any]:
    data = evidence.data
    sizes = {f"size of {part}": data.get(part) for part in ("train", "val", "test")}
    digests = data.get("digests") or {}
    # What only judges of labels are given is another rule's business.
    return {**{part: digests.get(part) for part in ("labels", "inputs", "noise")}, **sizes}


def _settings(case: Case) -> Iterator[Mark]:
    """The same backbone, augmentation, training, evaluation: all that is no judge of labels."""
    for comparison, method, found in case.table.rows():
        differ: dict[str, dict[str, str]] = {}
        for one, partner in case.pairs(found):
            for name, (ours, theirs) in _differences(one.config, partner.config).items():
                rule = RULE_OF.get(name.partition(".")[0], "training")
                differ.setdefault(rule, {})[name] = f"{_shown(name, ours)}, not {_shown(name, theirs)}"
        for rule, settings in differ.items():
            yield case.mark(rule, f"{SAYS[rule]} than {case.other}: {_listed(settings)}", comparison, method)


def _differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    names = [name for name in {**ours, **theirs} if not _within(name, OWN)]
    return {name: (ours.get(name), theirs.get(name)) for name in names if ours.get(name) != theirs.get(name)}


def _labels(case: Case) -> Iterator[Mark]:
    """Who learns from verification labels or trusted ones, or is given them and may, is marked."""
    rules = case.table.suite.fairness
    for comparison, method, found in case.table.rows():
        ended = [one for one in found if one.finished]
        for need, code, setting, words, permitted in (
            ("verification", "verification", "verify", "verification labels", rules.verification),
            ("clean", "trusted-labels", "clean", "trusted labels", rules.clean_labels),
        ):
            given = next((text for one in ended if (text := _given(one, need, setting))), "")
            if any(need in (case.uses.of(one) or ()) for one in ended):
                text = f"learns from {words}{given}"
            elif given and any(one.plugins(kind) for one in ended for kind in _JUDGES):
                # A plugin that needs none may still take those it finds, as a builder of prototypes does.
                text = f"is given {words}{given}, and may learn from them"
            else:
                continue
            yield case.mark(code, text, comparison, method, breaks=not permitted)


def _given(evidence: Evidence, need: str, setting: str) -> str:
    """How many checked labels a run was given, in brackets; empty where none."""
    count = (evidence.data.get("lineage") or {}).get("verified" if need == "verification" else "clean")
    if count is not None:
        return f" ({count:,})" if count else ""
    return f" ({evidence.config[setting]})" if evidence.config.get(setting) else ""


def _oracle(case: Case) -> Iterator[Mark]:
    """What is selected, is selected on noisy validation."""
    if case.headline.oracle:
        text = f"the headline measure ({case.headline.title}) is chosen on clean test labels: an upper bound"
        yield case.mark("oracle", text, None)


def _tuned(case: Case) -> Iterator[Mark]:
    """One setting a method, whatever the noise; what goes with the data is one setting for all that shares them."""
    fixed = tuple(_by_data(case))
    permitted = not case.table.suite.fairness.one_setting
    methods = dict.fromkeys(method for _, method, _ in case.table.rows())
    for method in methods:
        found: dict[tuple[str, str], dict[str, list[str]]] = {}
        for comparison in case.table.evidence:
            first = next(iter(case.table.finished(comparison, method)), None)
            for name, value in ({} if first is None else first.config).items():
                with_data = _within(name, fixed)
                if first is None or _within(name, (*PLACE, "out")) or (with_data and _within(name, _CHECKED)):
                    continue
                where = str(first.config.get("dataset") or first.place.data) if with_data else ""
                found.setdefault((name, where), {}).setdefault(_shown(name, value), []).append(comparison)
        differ = {name: values for (name, _), values in found.items() if len(values) > 1}
        if differ:
            listed = {
                name: " / ".join(f"{value} ({', '.join(where)})" for value, where in values.items())
                for name, values in differ.items()
            }
            yield case.mark(
                "tuned", f"settings differ by data or noise: {_listed(listed)}", None, method, breaks=not permitted
            )


_JUDGES = ("side_info", "prototypes", "weighter", "corrector")

#: Settings that name checked labels, which are data themselves.
_CHECKED = ("verify", "clean")

#: Settings that are scaled to the epochs of a run.
_SCALED = ("stages", "train.schedule", "train.warmup_epochs")


def _by_data(case: Case) -> set[str]:
    """Settings that go with the data: those the suite gives to all methods, and those plain cross entropy varies in."""
    fixed = {name for entry in case.table.suite.data for name in flat(entry.settings) if not _within(name, _JUDGES)}
    seen: dict[str, Any] = {}
    for comparison in case.table.evidence:
        found = case.table.finished(comparison, case.table.reference or "")
        for name, value in (found[0].config if found else {}).items():
            if seen.setdefault(name, value) != value:
                fixed.add(name)
    return fixed | (set(_SCALED) if "epochs" in fixed else set())


def _cost(case: Case) -> Iterator[Mark]:
    """No more seconds than the cap; and only seconds of one machine are compared."""
    cap = case.table.suite.fairness.cap
    for comparison, method, found in case.table.rows():
        pairs = list(case.pairs(found))
        if not pairs or case.table.reference is None:
            continue
        if any(one.machine != partner.machine for one, partner in pairs):
            text = "some seeds ran on another machine than plain cross entropy: their seconds are not compared"
            yield case.mark("machine", text, comparison, method, breaks=False)
        cost = case.table.cost(comparison, method)
        if cap is not None and cost is not None and cost > cap:
            text = f"takes {cost:.1f} × the time of plain cross entropy; the suite's cap is {cap:g} ×"
            yield case.mark("slow", text, comparison, method)


def _pretrained(case: Case) -> Iterator[Mark]:
    """Who starts from pre-trained weights is marked; and so are features that a network made elsewhere."""
    permitted = case.table.suite.fairness.pretrained
    for comparison, methods in case.table.evidence.items():
        made_elsewhere = False
        for method in methods:
            found = case.table.finished(comparison, method)
            if any(_has_weights(one.config) for one in found):
                yield case.mark(
                    "pretrained", "starts from pre-trained weights", comparison, method, breaks=not permitted
                )
            made_elsewhere |= any(DEFAULT_BACKBONE["features"] in one.plugins("backbone") for one in found)
        if made_elsewhere:
            text = "on features made elsewhere: their network may have been pre-trained"
            yield case.mark("pretrained", text, comparison, breaks=not permitted)


def _has_weights(config: Mapping[str, Any]) -> bool:
    given = {name.rpartition(".")[2]: value for name, value in config.items() if name.startswith("backbone.")}
    return bool(given.get("pretrained")) or given.get("weights") is not None


def _versions(case: Case) -> Iterator[Mark]:
    """All cells were made by the same code."""
    ended = [one for _, _, found in case.table.rows() for one in found if one.finished]
    newest: dict[str, str] = {}
    for one in sorted(ended, key=lambda one: one.result.started if one.result else ""):
        newest |= one.packages
    for comparison, method, found in case.table.rows():
        older = {
            name: f"{of}, newest {newest[name]}"
            for one in found
            if one.finished
            for name, of in one.packages.items()
            if of != newest[name]
        }
        if older:
            yield case.mark(
                "versions", f"made by other code than the newest cell: {_listed(older)}", comparison, method
            )


RULES: tuple[Callable[[Case], Iterator[Mark]], ...] = (
    _overrides,
    _unfinished,
    _copies,
    _reference,
    _data,
    _settings,
    _labels,
    _oracle,
    _tuned,
    _cost,
    _pretrained,
    _versions,
)


def _within(name: str, heads: tuple[str, ...]) -> bool:
    return any(name == head or name.startswith(f"{head}.") for head in heads)


def _shown(name: str, value: Any) -> str:
    if name == "stages" and value:
        return f"{len(value)} stages of its own"
    return "default" if value in (None, [], {}) else f"{value}"


def _listed(settings: Mapping[str, Any], most: int = 6) -> str:
    found = [f"{name} {value}" for name, value in settings.items()]
    return ", ".join(found[:most]) + (f" and {len(found) - most} more" if len(found) > most else "")


def _seeds(seeds: Iterable[int]) -> str:
    listed = sorted(seeds)
    return f"seed{'s' if len(listed) > 1 else ''} {', '.join(map(str, listed))}"
