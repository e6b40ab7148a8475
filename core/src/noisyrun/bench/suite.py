"""A suite: what a TOML file says of methods, data sets, noise, seeds and budget. Imports no torch."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from noisyrun.api.errors import UserError
from noisyrun.config.errors import lines

#: Name of the row that every comparison has.
CROSS_ENTROPY = "cross entropy"

#: The headline measure by task, where the suite names none: selection never sees the test labels.
HEADLINE = {"train": "accuracy.best_noisy_val", "detect": "detection.auroc"}

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


class MethodEntry(_Entry):
    """A method (``[[method]]``): its name, and sockets or a recipe with settings, as in a configuration file."""

    name: Name = Field(description="Name in the tables.")
    note: str = Field("", description="What a reader must know of it.")
    sweep: dict[str, tuple[Any, ...]] = Field(
        default_factory=dict,
        description="Settings by dotted name, each with its values: one method for every combination.",
    )
    on: tuple[On, ...] = Field((), description="Settings for some of the data; marked in the tables.")


class Fairness(Part):
    """The rules of a suite (``[fairness]``). What breaks one is marked in every table."""

    cap: float | None = Field(
        10.0, gt=0, description="A method may take so many times the seconds of plain cross entropy; null: no limit."
    )
    one_setting: bool = Field(True, description="A method has one setting for all noise; else the suite says why.")
    clean_labels: bool = Field(True, description="Methods may use trusted labels.")
    verification: bool = Field(True, description="Methods may use verification labels.")
    pretrained: bool = Field(True, description="Methods may start from pre-trained weights.")


class Claim(Part):
    """What a paper says of two methods (``[[claim]]``), held against what was measured."""

    text: str = Field(description="The claim in words.")
    source: str = Field("", description="Where it stands, as in: SMP, table 3.")
    better: str = Field(description="The method that is said to be better, or as good.")
    worse: str = Field(description="The one it is compared with.")
    relation: Literal["better", "alike"] = Field("better", description="better; or alike: no difference beyond noise.")
    measure: str | None = Field(None, description="Measure it is about; the suite's headline by default.")
    data: str = Field("*", description="Data sets it is tested on, by name; * and ? match.")
    noise: str = Field("*", description="Noise it is tested on; * and ? match.")


class Published(Part):
    """Published figures (``[[published]]``), set beside ours."""

    source: str = Field(description="Where they stand, as in: SMP, table 3.")
    data: str = Field(description="The data set as the paper has it.")
    measure: str = Field(description="What was measured, as the paper says it.")
    figures: dict[str, float] = Field(description="By method, as the suite names it; in percent.")
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
    data: tuple[DataEntry, ...] = Field(min_length=1, description="Data sets.")
    method: tuple[MethodEntry, ...] = Field(min_length=1, description="Methods.")
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
    values = _located(_read(path, ()), path.parent, data or _from_environment(), path)
    try:
        return Suite.model_validate(values)
    except ValidationError as error:
        raise UserError("\n".join(lines(error, Suite, lambda place: f"{path.name}: {_dotted(place)}"))) from None


def _from_environment() -> Path | None:
    given = os.environ.get("NOISYRUN_DATA")
    return Path(given) if given else None


def _read(path: Path, above: tuple[Path, ...]) -> dict[str, Any]:
    if path.resolve() in above:
        raise UserError(f"{path}: extends itself")
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
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


def _located(value: Any, folder: Path, data: Path | None, suite: Path) -> Any:
    """Values with ``{data}`` and ``{suite}`` (the suite's folder) put in."""
    if isinstance(value, Mapping):
        return {name: _located(one, folder, data, suite) for name, one in value.items()}
    if isinstance(value, list):
        return [_located(one, folder, data, suite) for one in value]
    if not isinstance(value, str):
        return value
    if DATA in value:
        if data is None:
            raise UserError(f"{suite.name}: {value!r} needs the folder of the data sets: --data DIR, or NOISYRUN_DATA")
        value = value.replace(DATA, str(data))
    return value.replace("{suite}", str(folder))


def _dotted(place: tuple[str | int, ...]) -> str:
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)
    return text.lstrip(".") or "suite"
