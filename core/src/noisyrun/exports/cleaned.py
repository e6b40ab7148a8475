"""A finished run's data set with the labels that the run arrived at: read again, and held against what it was."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import ValidationError

from noisyrun.api.errors import UserError
from noisyrun.api.labels import Labels
from noisyrun.config.settings import RunSettings
from noisyrun.data import build, sources
from noisyrun.data.classes import Classes, find_classes
from noisyrun.data.digests import changed, kept
from noisyrun.data.pack.columns import INDEX, NAMES, Column, class_feature, class_values, columns_of, uniform
from noisyrun.data.raw import ABSENT, KNOWN, Raw, RawData
from noisyrun.data.samples import Data, Samples
from noisyrun.data.verdicts import is_file as is_verdicts
from noisyrun.exports.options import Choice
from noisyrun.exports.verdict import Verdict, judged
from noisyrun.report.labels import read_labels_table
from noisyrun.run_folder import CONFIG, LABELS, STATUS, SUMMARY, RunFolder

#: Content of `noisyrun.exports` folders beside the data: where it comes from.
LINEAGE = "export.json"


@dataclass(frozen=True)
class Split:
    """One split of an export.

    Attributes
    ----------
    raw
        Where its images or features stand.
    columns
        What stands beside them; `label` is what to train on.
    """

    raw: Raw
    columns: dict[str, Column]


@dataclass(frozen=True)
class Cleaned:
    """What to export.

    Attributes
    ----------
    name
        Of the data set.
    splits
        ``train``, with the samples of noisy validation, and ``test`` where there is one.
    lineage
        The content of ``export.json``.
    lines
        What people should know.
    """

    name: str
    classes: Classes
    splits: dict[str, Split]
    several: bool
    settings: RunSettings
    lineage: dict[str, Any] = field(default_factory=dict)
    lines: tuple[str, ...] = ()

    def uniform(self) -> dict[str, Split]:
        """The splits, each with the columns of all, as those want who read all splits as one table."""
        columns = uniform([part.columns for part in self.splits.values()])
        return {name: Split(self.splits[name].raw, part) for name, part in zip(self.splits, columns, strict=True)}

    @property
    def lineage_text(self) -> str:
        """``export.json``."""
        return json.dumps(self.lineage, indent=1, ensure_ascii=False) + "\n"


def cleaned(run: Path, choice: Choice, form: str) -> Cleaned:
    """Read a run and its data set.

    Raises
    ------
    UserError
        When the run has not finished, or its data set is not what it was.
    """
    config, summary = _opened(run)
    settings = _settings(run, config, choice)
    raw = sources.read(settings)
    data = build.assemble(raw, settings, to_train=False)
    _refuse_changed(run, summary["data"]["digests"], data.digests)
    classes = find_classes(raw, settings.data.classes or sources.beside(settings, "classes.tsv"), settings.data.tree)
    table = read_labels_table(run / LABELS, data.task.classes)
    used, origin = _used(data)
    part = raw.train.take(np.searchsorted(raw.train.index, used))
    verdict = judged(table, used, origin, _observed(data, used), data.task.multi, choice)
    columns = _columns(part, classes, data, used, settings)
    columns = _exported(columns, verdict, classes.names, origin)
    left = np.flatnonzero(verdict.kept)
    if len({c for c in verdict.classes[verdict.kept].reshape(-1).tolist() if c >= 0}) < 2:
        raise UserError("export: fewer than two classes are left; leave less out (--drop, --min-weight)")
    splits = {"train": Split(part.take(left), {name: _take(column, left) for name, column in columns.items()})}
    if raw.test is not None and data.test is not None:
        splits["test"] = _test(raw.test, data.test, classes)
    counts = {
        **verdict.counts,
        "not_in_run": len(raw.train) - len(used),
        "train": len(left),
        "test": 0 if data.test is None else len(data.test),
    }
    lineage = {
        "format": form,
        "noisyrun": version("noisyrun"),
        "run": {"id": summary["run_id"], "versions": summary["versions"], "finished": summary["finished"]},
        "data": {"name": summary["data"]["name"], "digests": summary["data"]["digests"]},
        "methods": {k: sorted(v) for k, v in config.items() if k in _SOCKETS and isinstance(v, Mapping) and v},
        "options": choice.as_dict(),
        "counts": counts,
    }
    return Cleaned(data.name, classes, splits, data.task.multi, settings, lineage, tuple(_told(counts, choice)))


_SOCKETS = ("backbone", "side_info", "prototypes", "weighter", "corrector")


def _opened(run: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The configuration and the summary of a finished run, or of a detection, which leaves a summary alone."""
    from noisyrun.report.summary import read

    summary_file = run / SUMMARY
    if (run / CONFIG).is_file() or (run / STATUS).exists() or not summary_file.is_file():
        folder = RunFolder.open(run)
        status = folder.status().get("status")
        if status != "finished":
            raise UserError(
                f"export: the run in {run} has not finished (it is {status}): noisyrun resume {quote(str(run))}"
            )
    try:
        summary = read(summary_file)
    except (OSError, ValueError) as error:
        raise UserError(f"{summary_file}: cannot be read ({str(error).splitlines()[0]})") from None
    if summary["data"] is None:
        raise UserError(f"{summary_file}: says nothing of the data of the run")
    if (run / CONFIG).is_file():
        return folder.config(), summary
    # A detection judges every label, and holds none out.
    return {**summary["config"], "data": {**summary["config"].get("data", {}), "val": 0.0}}, summary


def _settings(run: Path, config: Mapping[str, Any], choice: Choice) -> RunSettings:
    """The run's settings; its plugins need not be installed to export what they decided."""
    values = {name: value for name, value in config.items() if name in RunSettings.model_fields}
    try:
        settings = RunSettings.model_validate(values)
    except ValidationError as error:
        raise UserError(f"{run}: its configuration: {error.errors()[0]['msg']}") from None
    moved: dict[str, Any] = {}
    if choice.root is not None:
        moved["root"] = Path(choice.root)
    if choice.test is not None:
        moved["test"] = choice.test
    data = settings.data.model_copy(update=moved)
    dataset = settings.dataset if choice.dataset is None else choice.dataset
    return settings.model_copy(update={"data": data, "dataset": dataset})


def _refuse_changed(run: Path, then: Mapping[str, str], now: Mapping[str, str]) -> None:
    # Earlier versions took these digests alone; of others they say nothing.
    early = set(then) <= {"labels", "inputs", "noise"}
    part = changed(then if early else kept(then), now)
    if part is not None:
        raise UserError(
            f"export: the data changed since the run in {run}: {part} are not what they were; "
            "what the run says is of the old data: put it back, or name it with --dataset"
        )


def _used(data: Data) -> tuple[np.ndarray, np.ndarray]:
    """Stable index of all samples of the run, int64 [n] ascending; and whether each is of training, bool [n]."""
    train = data.train.index.numpy()
    val = np.zeros(0, np.int64) if data.val is None else data.val.index.numpy()
    both = np.concatenate([train, val])
    order = np.argsort(both, kind="stable")
    return both[order], (np.arange(len(both)) < len(train))[order]


def _joined(data: Data, used: np.ndarray, of: Any) -> Labels | None:
    """Labels of training and noisy validation in the order of the index."""
    import torch

    from noisyrun.api.labels import PAD, widen

    parts = [of(split) for split in (data.train, data.val) if split is not None]
    if any(part is None for part in parts):
        return None
    index = torch.cat([split.index for split in (data.train, data.val) if split is not None])
    order = torch.argsort(index, stable=True)
    width = max(part.classes.shape[1] for part in parts)
    known = None
    if all(part.known is not None for part in parts):
        most = max(part.known.shape[1] for part in parts)
        known = torch.cat([widen(part.known, most, PAD) for part in parts])[order]
    return Labels(torch.cat([widen(part.classes, width, PAD) for part in parts])[order], known)


def _observed(data: Data, used: np.ndarray) -> Labels:
    labels = _joined(data, used, lambda split: split.labels)
    assert labels is not None
    return labels


def _columns(part: Raw, classes: Classes, data: Data, used: np.ndarray, settings: RunSettings) -> dict[str, Column]:
    """The columns of the source, with observed and clean labels as the run saw them: noise included."""
    columns = columns_of(part, classes)
    names, several = classes.names, data.task.multi
    for role, labels in (
        ("label", _observed(data, used)),
        ("truth", _joined(data, used, lambda split: split.truth)),
    ):
        for other in (role, KNOWN[role], ABSENT[role]):
            columns.pop(NAMES[other], None)
        if labels is not None:
            columns |= _label_columns(role, labels, names, several)
    if settings.verify is not None and is_verdicts(settings.verify):
        verified = np.full(len(used), -1, np.int8)
        verified[np.searchsorted(used, data.train.index.numpy())] = data.train.verified.numpy()
        columns[NAMES["verified"]] = Column(pa.array(verified, mask=verified < 0))
    if NAMES["clean"] in columns and NAMES["trusted"] not in columns and not several:
        # The flag says that the observed label can be trusted, and `label` will not be that one.
        flag = columns[NAMES["clean"]].values.fill_null(0).to_numpy(zero_copy_only=False) == 1
        trusted = np.where(flag[:, None], columns_labels(_observed(data, used)), -1)
        columns[NAMES["trusted"]] = Column(class_values(trusted, False), class_feature(names, False))
    return columns


def columns_labels(labels: Labels) -> np.ndarray:
    """int64 [n, k]."""
    return labels.classes.numpy()


def _label_columns(role: str, labels: Labels, names: tuple[str, ...], several: bool) -> dict[str, Column]:
    found = {NAMES[role]: Column(class_values(labels.classes.numpy(), several), class_feature(names, several))}
    if labels.known is not None:
        known = class_values(labels.known.numpy(), True)
        found[NAMES[KNOWN[role]]] = Column(known, class_feature(names, True))
    return found


def _exported(
    columns: dict[str, Column], verdict: Verdict, names: tuple[str, ...], origin: np.ndarray
) -> dict[str, Column]:
    """The label to train on first, then what the run says of it, then what the source says."""
    several = verdict.several
    kind = class_feature(names, several)
    found = {INDEX: columns.pop(INDEX), "label": Column(class_values(verdict.classes, several), kind)}
    found["observed"] = Column(columns.pop("label").values, kind)
    found |= {name: Column(values, kind if name == "corrected" else None) for name, values in verdict.columns.items()}
    if several and "judged" in found:
        found["judged"] = Column(found["judged"].values, kind)
    found["split"] = Column(pa.array(np.where(origin, "train", "val").tolist()))
    verified = columns.get(NAMES["verified"])
    if verified is not None:
        # What was verified is the observed label; nobody has looked at the one that took its place.
        left = pa.compute.if_else(pa.array(verdict.changed), pa.scalar(None, verified.values.type), verified.values)
        columns[NAMES["verified"]] = Column(left)
    return {**found, **columns}


def _take(column: Column, rows: np.ndarray) -> Column:
    return replace(column, values=column.take(rows))


def _test(raw: Raw, test: Samples, classes: Classes) -> Split:
    """The test set as it is: nothing judges it."""
    part = raw.take(np.searchsorted(raw.index, test.index.numpy()))
    columns = columns_of(part, classes)
    split = Column(pa.array(["test"] * len(part)))
    head = {name: columns.pop(name) for name in (INDEX, "label") if name in columns}
    return Split(part, {**head, "split": split, **columns})


def _told(counts: Mapping[str, int], choice: Choice) -> list[str]:
    lines = [f"train: {counts['train']:,} samples, {counts['corrected']:,} labels corrected"]
    if counts["dropped_wrong"] or choice.drop_wrong:
        lines.append(f"left out: {counts['dropped_wrong']:,} labels that are called wrong and were not corrected")
    if choice.min_weight is not None:
        lines.append(f"left out: {counts['dropped_weight']:,} labels of a weight below {choice.min_weight:g}")
    if counts["not_judged"]:
        lines.append(f"of noisy validation: {counts['not_judged']:,} samples, as observed (split: val)")
    if counts["not_in_run"]:
        lines.append(f"not in the run, and left out: {counts['not_in_run']:,} samples")
    if counts["test"]:
        lines.append(f"test: {counts['test']:,} samples, as they are")
    return lines


__all__ = ["LINEAGE", "Cleaned", "RawData", "Split", "cleaned"]
