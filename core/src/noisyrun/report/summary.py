"""The content of ``summary.json``: how it is built, written and read."""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from noisyrun.api.plugin import API_VERSION
from noisyrun.files import write_text
from noisyrun.report.parts import (
    Accuracy,
    Baseline,
    Calibration,
    ClassPart,
    DataPart,
    Detection,
    Energy,
    Evaluation,
    LabelAccuracy,
    Part,
    Summary,
)

if TYPE_CHECKING:
    from noisyrun.data.samples import Data
    from noisyrun.engine.outcome import Outcome

#: Distributions whose versions explain a result.
EXPLAIN = ("noisyrun", "torch", "torchvision", "numpy", "scikit-learn")


def build(
    *,
    config: Any = None,
    data: Data | None = None,
    outcome: Outcome | None = None,
    detection: Mapping[str, float | None] | None = None,
    unverified: Mapping[str, float | None] | None = None,
    per_class: Sequence[Mapping[str, Any]] = (),
    label_accuracy: Mapping[str, float | None] | None = None,
    baseline: Outcome | None = None,
    evaluation: Mapping[str, Any] | None = None,
    versions: Mapping[str, str] | None = None,
    seconds: Mapping[str, float] | None = None,
    peak_memory: Mapping[str, int] | None = None,
    energy: Mapping[str, float] | None = None,
    run_id: str | None = None,
    out: Path | None = None,
    files: Mapping[str, str] | None = None,
    tracking: Mapping[str, Mapping[str, str]] | None = None,
    warnings: Sequence[str] = (),
) -> dict[str, Any]:
    """The summary of a run or of a detection, as JSON values in the documented schema.

    Parameters
    ----------
    config
        The run's configuration: JSON values, or an object whose ``as_dict()`` gives them.
    data, outcome
        What was trained on and what came of it; None when nothing was trained.
    detection, label_accuracy
        Fields of `Detection` and `LabelAccuracy`; other keys are ignored.
    unverified
        Fields of `Detection` over labels that nobody verified, where some were.
    per_class
        Fields of `ClassPart`, class by class.
    baseline
        What came of plain cross entropy, where it was trained.
    evaluation
        Fields of `Evaluation`, where views or networks were averaged.
    seconds, peak_memory, energy
        In place of those of `outcome`. ``total`` is their sum unless it is given.

    Returns
    -------
    dict
        Every key of `Summary`; numbers that are not finite become None.
    """
    spent = dict(seconds if seconds is not None else outcome.seconds if outcome else {})
    if spent:
        spent.setdefault("total", sum(spent.values()))
    joules = energy if energy is not None else outcome.energy if outcome else {}
    memory = peak_memory if peak_memory is not None else outcome.peak_memory if outcome else {}
    made = Summary(
        run_id=run_id,
        out=None if out is None else from_here(out),
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
        accuracy=_accuracy(outcome),
        ap_all=_where_measured(outcome, "ap_all"),
        top5=_where_measured(outcome, "top5"),
        calibration=_calibration(outcome),
        label_accuracy=LabelAccuracy(**_picked(LabelAccuracy, label_accuracy)),
        detection=Detection(**_picked(Detection, detection)),
        detection_unverified=None if unverified is None else Detection(**_picked(Detection, unverified)),
        per_class=[ClassPart(**one) for one in per_class],
        baseline=None if baseline is None else _baseline(baseline),
        evaluation=None if evaluation is None else Evaluation(**evaluation),
        seconds=spent,
        samples_per_second=_rate(outcome),
        peak_memory={name: int(count) for name, count in memory.items()},
        energy=Energy(**_picked(Energy, joules)),
        data=None if data is None else _data(data),
        config=plain(config.as_dict() if hasattr(config, "as_dict") else dict(config or {})),
        versions=dict(versions) if versions is not None else library_versions(),
        history=[plain(record) for record in outcome.history] if outcome else [],
        rounds=[plain(record) for record in outcome.rounds] if outcome else [],
        warnings=list(warnings),
        files=dict(files or {}),
        tracking={name: dict(record) for name, record in (tracking or {}).items()},
    )
    return dict(plain(made.model_dump(mode="json")))


def write(summary: Mapping[str, Any], path: Path) -> None:
    """Write a summary atomically.

    Raises
    ------
    pydantic.ValidationError
        When it does not fit the schema.
    """
    Summary.model_validate(summary)
    write_text(path, json.dumps(summary, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read(path: Path) -> dict[str, Any]:
    """Read a summary, with every key of the schema."""
    return Summary.model_validate_json(path.read_text(encoding="utf-8")).model_dump(mode="json")


def schema() -> dict[str, Any]:
    """The JSON Schema of ``summary.json``."""
    return Summary.model_json_schema(mode="serialization")


def library_versions(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Versions of Python, the contract and the libraries that explain a result; `extra` adds the plugins'."""
    found = {"python": platform.python_version(), "api": API_VERSION}
    for name in EXPLAIN:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found | dict(extra or {})


def from_here(path: Path) -> str:
    """A path as a person would type it from where they stand."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except (ValueError, OSError):  # the folder that the run was started in may be gone
        return str(path)


def plain(value: Any) -> Any:
    """JSON values: mappings with string keys, lists, and None for numbers that are not finite."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, bool | int | str) or value is None:
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if hasattr(value, "item"):  # scalars of numpy and torch
        return plain(value.item())
    return str(value)


def _accuracy(outcome: Outcome | None) -> Accuracy:
    return Accuracy(**_picked(Accuracy, outcome.accuracy if outcome else None))


def _baseline(outcome: Outcome) -> Baseline:
    spent = dict(outcome.seconds)
    if spent:
        spent.setdefault("total", sum(spent.values()))
    history = [plain(one) for one in outcome.history]
    return Baseline(
        accuracy=_accuracy(outcome),
        ap_all=_where_measured(outcome, "ap_all"),
        top5=_where_measured(outcome, "top5"),
        calibration=_calibration(outcome),
        seconds=spent,
        history=history,
    )


def _calibration(outcome: Outcome | None) -> Calibration:
    return Calibration(**{name: _at_epochs(outcome, name) for name in Calibration.model_fields})


def _where_measured(outcome: Outcome | None, measure: str) -> Accuracy | None:
    found = _at_epochs(outcome, measure)
    return None if found == Accuracy() else found


def _at_epochs(outcome: Outcome | None, measure: str) -> Accuracy:
    """A measure on the test set at the epochs of `Accuracy`: the last, and the first that is best."""
    name = f"test_{measure}"
    records = [record for record in (outcome.history if outcome else ()) if record.get(name) is not None]
    if not records:
        return Accuracy()

    def at_best(by: str) -> float | None:
        judged = [record for record in records if record.get(by) is not None]
        return max(judged, key=lambda record: record[by])[name] if judged else None

    return Accuracy(last=records[-1][name], best_noisy_val=at_best("val_accuracy"), oracle=at_best("test_accuracy"))


def _rate(outcome: Outcome | None) -> float | None:
    """Training samples a second."""
    spent = outcome.seconds.get("train", 0.0) if outcome else 0.0
    return outcome.seen / spent if outcome and outcome.seen and spent else None


def label_fields(measures: Mapping[str, float | None], *, corrected: bool) -> dict[str, float | None]:
    """Fields of `LabelAccuracy` from the measures of a label phase; those after correction only where one was."""
    return {
        f"{field}{when}": measures.get(f"label_{name}_{when}")
        for field, name in (("", "accuracy"), ("f1_", "f1"))
        for when in ("before", "after")
        if corrected or when == "before"
    }


def _data(data: Data) -> DataPart:
    return DataPart(
        name=data.name,
        classes=data.task.num_classes,
        labels=data.task.labels,
        train=len(data.train),
        val=None if data.val is None else len(data.val),
        test=None if data.test is None else len(data.test),
        digests=dict(data.digests),
        lineage=plain(data.lineage),
        notes=list(data.notes),
        decode_errors={name: len(bad) for name, bad in data.unreadable.items() if len(bad)},
    )


def _picked(part: type[Part], values: Mapping[str, float | None] | None) -> dict[str, float | None]:
    return {name: plain((values or {}).get(name)) for name in part.model_fields}
