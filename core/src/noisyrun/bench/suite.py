"""A suite: what a TOML file says of methods, data sets, noise, seeds and budget. Imports no torch."""

from __future__ import annotations

import itertools
import os
import tomllib
from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from noisyrun.api.errors import UserError
from noisyrun.bench import measures
from noisyrun.config.errors import lines
from noisyrun.config.layers import SOCKETS
from noisyrun.registry import normal
from noisyrun.suggest import did_you_mean

#: Name of the row that every comparison has.
CROSS_ENTROPY = "cross entropy"

#: The headline measure by task, where the suite names none: selection never sees the test labels.
HEADLINE = {"train": "accuracy.best_noisy_val", "detect": "detection.auroc"}

#: Sockets of what judges labels, and what may fill them: with any of these a method is no plain cross entropy.
JUDGES = ("weighter", "corrector", "recipe")

#: Stands for the folder of data sets in a path: ``--data DIR``, or NOISYRUN_DATA.
DATA = "{data}"


def _name(value: str) -> str:
    if not value.strip() or not value.isprintable():
        raise ValueError("must be a name of printable characters")
    return value


Name = Annotated[str, Field(min_length=1, max_length=80), AfterValidator(_name)]


class Part(BaseModel):
    """Base of what a suite is made of."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class _Entry(BaseModel):
    """A table in which keys that are not its own are settings of a run."""

    model_config = ConfigDict(frozen=True, extra="allow")

    @property
    def settings(self) -> dict[str, Any]:
        """Settings of a run, as a configuration file has them."""
        return dict(self.model_extra or {})


class On(_Entry):
    """Settings of a method for some of the data: what breaks the rule of one setting a method, and is marked."""

    data: str = Field("*", description="Data sets it holds for, by name; * and ? match.")
    noise: str = Field("*", description="Noise it holds for; * and ? match.")


class DataEntry(_Entry):
    """A data set (``[[data]]``): its name, the noise to inject, and settings of a run."""

    name: Name = Field(description="Name in the tables.")
    noise: tuple[str, ...] = Field(
        ("none",), description="Noise to inject, as for --noise; each kind is a comparison of its own."
    )
    note: str = Field("", description="What a reader must know of it.")

    @model_validator(mode="before")
    @classmethod
    def _one_noise(cls, values: Any) -> Any:
        if isinstance(values, Mapping) and isinstance(values.get("noise"), str):
            return {**values, "noise": [values["noise"]]}
        return values

    @model_validator(mode="after")
    def _each_once(self) -> DataEntry:
        if not self.noise or len(set(self.noise)) < len(self.noise):
            raise ValueError("noise: needs one at least, each once; none stands for none")
        return self


class MethodEntry(_Entry):
    """A method (``[[method]]``): its name, and sockets or a recipe with settings, as in a configuration file."""

    name: Name = Field(description="Name in the tables.")
    note: str = Field("", description="What a reader must know of it.")
    sweep: dict[str, tuple[Any, ...]] = Field(
        default_factory=dict,
        description="Settings by dotted name, each with its values: one method for every combination.",
    )
    on: tuple[On, ...] = Field((), description="Settings for some of the data; marked in the tables.")

    @model_validator(mode="after")
    def _some_values(self) -> MethodEntry:
        for setting, values in self.sweep.items():
            if not values or any(values.count(one) > 1 for one in values):
                raise ValueError(f"sweep: {setting} needs one value at least, each once")
        return self

    @property
    def plain(self) -> bool:
        """Whether it is plain training: nothing that judges labels, anywhere."""
        tables = (self.settings, self.sweep, *(one.settings for one in self.on))
        return not any(_judges(name) for table in tables for name in table)

    def variants(self) -> Iterator[tuple[MethodEntry, dict[str, Any]]]:
        """One method for every combination of a sweep's values, with those; itself without a sweep."""
        for values in itertools.product(*self.sweep.values()):
            swept = dict(zip(self.sweep, values))
            listed = ", ".join(f"{setting.rpartition('.')[2]}={value}" for setting, value in swept.items())
            yield (self.model_copy(update={"name": f"{self.name} ({listed})"}) if swept else self), swept


class Fairness(Part):
    """The rules of a suite (``[fairness]``). What breaks one is marked in every table."""

    cap: float | None = Field(
        10.0, gt=0, description="A method may take so many times the seconds of plain cross entropy; inf: no limit."
    )
    one_setting: bool = Field(True, description="A method has one setting for all noise; else the suite says why.")
    clean_labels: bool = Field(True, description="Methods may use trusted labels.")
    verification: bool = Field(True, description="Methods may use verification labels.")
    pretrained: bool = Field(True, description="Methods may start from pre-trained weights.")


class Claim(Part):
    """What a paper says of two methods, or of a swept setting (``[[claim]]``), held against what was measured."""

    text: str = Field(min_length=1, description="The claim in words.")
    source: str = Field("", description="Where it stands, as in: Surname 2019, table 3.")
    relation: Literal["better", "alike", "rises", "falls", "best", "plateau"] = Field(
        "better",
        description="Of two methods: better, or alike (no difference beyond noise). Of a sweep: the measure rises or "
        "falls with the setting, is best at a value, or is alike at several (plateau).",
    )
    better: str = Field("", description="Of two methods, the one that is said to be better, or as good.")
    worse: str = Field("", description="The one it is compared with.")
    sweep: str = Field("", description="Of a sweep: the method, without its values.")
    setting: str = Field("", description="The setting it is about; that of the sweep, where it has one, by default.")
    at: tuple[Any, ...] = Field((), description="best: the values said to be best; plateau: those said to be alike.")
    measure: str | None = Field(None, description="Measure it is about; the suite's headline by default.")
    data: str = Field("*", description="Data sets it is tested on, by name; * and ? match.")
    noise: str = Field("*", description="Noise it is tested on; * and ? match.")

    @property
    def of_sweep(self) -> bool:
        """Whether it is about a swept setting, and not about two methods."""
        return self.relation not in ("better", "alike")

    @model_validator(mode="after")
    def _subject(self) -> Claim:
        pair, swept = bool(self.better and self.worse), bool(self.sweep)
        if pair == swept or swept != self.of_sweep:
            needed = "sweep, the method whose setting it is" if self.of_sweep else "better and worse, two methods"
            raise ValueError(f"relation {self.relation} is about {needed}, and nothing else")
        if self.relation == "best" and not self.at:
            raise ValueError("relation best needs at, the values said to be best")
        return self


class Published(Part):
    """Published figures (``[[published]]``), set beside ours."""

    source: str = Field(description="Where they stand, as in: Surname 2019, table 3.")
    data: str = Field(description="The data set as the paper has it.")
    measure: str = Field(description="What was measured, as the paper says it.")
    figures: dict[str, float] = Field(default_factory=dict, description="By method, as the suite names it; in percent.")
    others: dict[str, float] = Field(
        default_factory=dict, description="By method, of methods that the suite does not have; in percent."
    )
    ours: str | None = Field(None, description="Measure of ours to set beside; the suite's headline by default.")
    on: str | None = Field(None, description="Data set of the suite to set beside; by default all, averaged.")
    noise: str = Field("*", description="Noise of the suite to set beside; * and ? match.")
    differs: str = Field("", description="What differs in the protocol, beside what the suite says.")


class Suite(Part):
    """A suite of cells: every method on all data, with all noise, for all seeds."""

    title: str = Field(min_length=1, max_length=200, description="Title of the report.")
    about: str = Field("", description="What is compared, and why.")
    task: Literal["train", "detect"] = Field("train", description="Train networks, or detect on given features.")
    measure: str = Field("", description="Headline measure; selected on noisy validation, or AUROC, by default.")
    seeds: tuple[int, ...] = Field((0, 1, 2), min_length=1, description="Seeds; a number n means 0 to n - 1.")
    settings: dict[str, Any] = Field(default_factory=dict, description="Settings of every cell.")
    data: tuple[DataEntry, ...] = Field(description="Data sets.")
    method: tuple[MethodEntry, ...] = Field(description="Methods.")
    fairness: Fairness = Field(default_factory=Fairness, description="Rules.")
    timeout: float | None = Field(None, gt=0, description="Seconds after which a cell is given up; null: never.")
    differs: str = Field("", description="What differs from the published protocol.")
    claim: tuple[Claim, ...] = Field((), description="Claims to test.")
    published: tuple[Published, ...] = Field((), description="Published figures.")

    @model_validator(mode="before")
    @classmethod
    def _some_seeds(cls, values: Any) -> Any:
        if isinstance(values, Mapping) and isinstance(values.get("seeds"), int):
            return {**values, "seeds": list(range(values["seeds"]))}
        return values

    @model_validator(mode="after")
    def _names(self) -> Suite:
        for what, entries in (("data", self.data), ("method", self.method)):
            if not entries:
                raise ValueError(f"[[{what}]]: needs one at least")
            names = [entry.name for entry in entries]
            if twice := {name for name in names if names.count(name) > 1}:
                raise ValueError(f"[[{what}]]: two are called {sorted(twice)[0]!r}")
        if len(set(self.seeds)) < len(self.seeds) or min(self.seeds) < 0:
            raise ValueError("seeds: must be numbers from 0, each once")
        return self

    @property
    def headline(self) -> str:
        """The headline measure."""
        return self.measure or HEADLINE[self.task]

    @property
    def methods(self) -> list[tuple[MethodEntry, dict[str, Any]]]:
        """Methods with what a sweep set, in order; plain cross entropy is among them whatever the suite says."""
        found = [variant for entry in self.method for variant in entry.variants()]
        if self.task == "train" and not any(self._is_reference(entry) for entry in self.method):
            return [(MethodEntry(name=CROSS_ENTROPY), {}), *found]
        return found

    @property
    def reference(self) -> str | None:
        """The method that is plain cross entropy: the one so called, else one without settings; None in detection."""
        return next((entry.name for entry, _ in self.methods if self._is_reference(entry)), None)

    def _is_reference(self, entry: MethodEntry) -> bool:
        return (
            self.task == "train"
            and entry.plain
            and not entry.sweep
            and (entry.name == CROSS_ENTROPY or not (entry.settings or entry.on))
        )


def load(path: Path, data: Path | None = None) -> Suite:
    """Read a suite.

    Parameters
    ----------
    path
        The TOML file. With ``extends = "other.toml"`` its keys replace those of the other one, of which ``settings``
        and ``fairness`` are merged.
    data
        What ``{data}`` in paths stands for; NOISYRUN_DATA by default.

    Raises
    ------
    UserError
        One line for everything that is wrong.
    """
    values = _located(_read(path, ()), data or _from_environment(), path)
    try:
        suite = Suite.model_validate(values)
    except ValidationError as error:
        raise UserError("\n".join(lines(error, Suite, lambda place: f"{path.name}: {_dotted(place)}"))) from None
    if wrong := list(contradictions(suite)):
        raise UserError("\n".join(f"{path.name}: {line}" for line in wrong))
    return suite


def contradictions(suite: Suite) -> Iterator[str]:
    """A line for everything in a suite that names what it does not have."""
    names = [entry.name for entry, _ in suite.methods]
    for name in dict.fromkeys(one for one in names if names.count(one) > 1):
        yield f"method: two are called {name!r}"
    for place, table in (("settings", suite.settings), *((f"data {one.name}", one.settings) for one in suite.data)):
        for setting in table:
            if suite.task == "train" and _judges(setting):
                yield f"{place}: {setting} judges labels, which plain cross entropy does not; give it to methods"
    if suite.measure:
        yield from _measure("measure", suite.measure)
    for entry in suite.method:
        for on in entry.on:
            yield from _pattern(f"method {entry.name}: on", on.data, on.noise, suite)
    for place, claim in ((f"claim[{number}]", one) for number, one in enumerate(suite.claim)):
        yield from _measure(f"{place}.measure", claim.measure)
        yield from _pattern(place, claim.data, claim.noise, suite)
        for field, name in (("better", claim.better), ("worse", claim.worse)):
            if name and name not in names:
                yield f"{place}.{field}: no method {name!r}{did_you_mean(name, names)}"
        if claim.of_sweep:
            yield from _swept(place, claim, suite)
    for place, row in ((f"published[{number}]", one) for number, one in enumerate(suite.published)):
        yield from _measure(f"{place}.ours", row.ours)
        yield from _pattern(place, row.on or "*", row.noise, suite)
        for name in row.figures:
            if name not in names:
                yield f"{place}.figures: no method {name!r}{did_you_mean(name, names)}; of other methods say others"


def _judges(setting: str) -> bool:
    head = normal(setting.split(".")[0])
    return SOCKETS.get(head, head) in JUDGES


def _measure(place: str, key: str | None) -> Iterator[str]:
    if key is not None and not measures.known(key):
        yield f"{place}: no measure {key!r}{did_you_mean(key, measures.MEASURES)}"


def _pattern(place: str, data: str, noise: str, suite: Suite) -> Iterator[str]:
    """A line where no comparison of the suite fits."""
    fit = [one for one in suite.data if fnmatchcase(one.name, data)]
    if not fit:
        yield f"{place}: no data set {data!r}{did_you_mean(data, [one.name for one in suite.data])}"
    elif not any(fnmatchcase(one, noise) for entry in fit for one in entry.noise):
        yield f"{place}: no noise {noise!r}{did_you_mean(noise, [one for entry in fit for one in entry.noise])}"


def _swept(place: str, claim: Claim, suite: Suite) -> Iterator[str]:
    swept = {entry.name: entry.sweep for entry in suite.method if entry.sweep}
    if claim.sweep not in swept:
        yield f"{place}.sweep: no method {claim.sweep!r} with a sweep{did_you_mean(claim.sweep, swept)}"
        return
    sweep = swept[claim.sweep]
    setting = claim.setting or next(iter(sweep))
    if setting not in sweep or (not claim.setting and len(sweep) > 1):
        yield f"{place}.setting: must be one of {', '.join(sweep)}"
        return
    values = sweep[setting]
    if claim.relation in ("rises", "falls") and not all(isinstance(one, int | float) for one in values):
        yield f"{place}: {setting} has no order, so nothing {claim.relation} with it"
    if claim.relation == "best" and len(claim.at) >= len(values):
        yield f"{place}.at: names all values of {setting}, which leaves none to compare with"
    if claim.relation == "plateau" and len(claim.at) == 1:
        yield f"{place}.at: a plateau has two values or more"
    for value in claim.at:
        if value not in values:
            yield f"{place}.at: {setting} takes {', '.join(map(str, values))} (got {value})"


def _from_environment() -> Path | None:
    given = os.environ.get("NOISYRUN_DATA")
    return Path(given) if given else None


def _read(path: Path, above: tuple[Path, ...]) -> dict[str, Any]:
    if path.resolve() in above:
        raise UserError(f"{path}: extends itself")
    try:
        values = _in_folder(tomllib.loads(path.read_text(encoding="utf-8")), path.parent)
    except FileNotFoundError:
        raise UserError(f"no suite {path}") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UserError(f"{path}: cannot be read as TOML ({error})") from None
    other = values.pop("extends", None)
    if other is None:
        return values
    if not isinstance(other, str):
        raise UserError(f"{path.name}: extends: must be the name of a file (got {other!r})")
    base = _read(path.parent / other, (*above, path.resolve()))
    for name in ("settings", "fairness"):
        values[name] = _merged(base.get(name, {}), values.get(name, {}))
    return {**base, **values}


def _merged(below: Any, above: Any) -> Any:
    """Two tables, the second over the first."""
    if not isinstance(below, Mapping) or not isinstance(above, Mapping):
        return above
    return {**below, **{name: _merged(below.get(name), value) for name, value in above.items()}}


def _in_folder(value: Any, folder: Path) -> Any:
    """Values with ``{suite}``, the folder of the file that says so, put in."""
    return _texts(value, lambda text: text.replace("{suite}", str(folder)))


def _located(value: Any, data: Path | None, suite: Path) -> Any:
    """Values with ``{data}`` put in."""

    def put(text: str) -> str:
        if DATA in text and data is None:
            raise UserError(f"{suite.name}: {text!r} needs the folder of the data sets: --data DIR, or NOISYRUN_DATA")
        return text.replace(DATA, str(data))

    return _texts(value, put)


def _texts(value: Any, change: Callable[[str], str]) -> Any:
    """The same values, with every text changed."""
    if isinstance(value, Mapping):
        return {name: _texts(one, change) for name, one in value.items()}
    if isinstance(value, list):
        return [_texts(one, change) for one in value]
    return change(value) if isinstance(value, str) else value


def _dotted(place: tuple[str | int, ...]) -> str:
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)
    return text.lstrip(".") or "suite"
