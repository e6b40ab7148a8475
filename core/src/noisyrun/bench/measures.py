"""The measures of a comparison: what each is called, its unit, and which way is better. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

Unit = Literal["percent", "score", "seconds", "bytes", "joules", "count"]
Group = Literal["accuracy", "calibration", "labels", "detection", "cost", "other"]


@dataclass(frozen=True)
class Measure:
    """A measure.

    Attributes
    ----------
    key
        Key path in a run's summary: ``accuracy.last``.
    title, short
        As a heading, and as the head of a narrow column.
    unit
        percent: kept as a share in [0, 1], shown times 100; bytes are shown in MB.
    higher
        Whether more is better; None where neither is (the true share of wrong labels).
    decimals
        Digits after the point, as shown.
    description
        One sentence.
    group
        What it is about.
    oracle
        Whether it takes the clean labels to choose an epoch or a threshold: an upper bound, no honest result.
    """

    key: str
    title: str
    short: str
    unit: Unit
    higher: bool | None
    decimals: int
    description: str
    group: Group
    oracle: bool = False

    @property
    def factor(self) -> float:
        """From the value kept to the value shown."""
        return {"percent": 100.0, "bytes": 1e-6}.get(self.unit, 1.0)

    @property
    def unit_shown(self) -> str:
        """The unit as it stands in a heading; empty for scores and counts."""
        return {"percent": "%", "bytes": "MB", "seconds": "s", "joules": "J"}.get(self.unit, "")

    def shown(self, value: float | None, sign: bool = False) -> str:
        """A value in the unit and decimals of the measure, without the unit; a dash for None."""
        if value is None:
            return "–"
        return f"{value * self.factor:{'+' if sign else ''}.{self.decimals}f}"


#: After which epoch a measure on the test set is taken: key, title, short title, sentence, whether it is an oracle.
_EPOCHS = (
    ("best_noisy_val", "best on noisy validation", "val", "at the epoch that is best on noisy validation", False),
    ("last", "last epoch", "last", "after the last epoch", False),
    ("oracle", "oracle", "oracle", "at the epoch that is best on the test set itself: an upper bound", True),
)

#: Measures on the test set: key, title, short title, unit, whether more is better, sentence, group.
_TESTED: tuple[tuple[str, str, str, Unit, bool, str, Group], ...] = (
    ("accuracy", "Accuracy", "Acc", "percent", True, "Test accuracy (mAP, of several labels a sample)", "accuracy"),
    ("top5", "Top-5 accuracy", "Top-5", "percent", True, "True class among the five most probable", "accuracy"),
    (
        "ap_all",
        "AP over all",
        "AP all",
        "percent",
        True,
        "Average precision over all (sample, class) pairs",
        "accuracy",
    ),
    ("calibration.ece", "Calibration error", "ECE", "percent", False, "Expected calibration error", "calibration"),
    ("calibration.nll", "Log-likelihood, negative", "NLL", "score", False, "In nats, mean over samples", "calibration"),
    ("calibration.brier", "Brier score", "Brier", "score", False, "Squared error of probabilities", "calibration"),
)

#: Of a detection: key, title, short title, unit, whether more is better, sentence, whether it is an oracle.
_DETECTED: tuple[tuple[str, str, str, Unit, bool | None, str, bool], ...] = (
    ("auroc", "AUROC", "AUROC", "score", True, "Area under the ROC curve of wrong labels against right ones.", False),
    ("average_precision", "Average precision", "AP", "score", True, "Area under precision against recall.", False),
    ("f1", "F1", "F1", "score", True, "F1 of the method's own decision.", False),
    ("precision", "Precision", "Prec", "percent", True, "Of the labels called wrong, the share that is.", False),
    ("recall", "Recall", "Rec", "percent", True, "Of the wrong labels, the share called wrong.", False),
    (
        "precision_at_noise_rate",
        "Precision at the noise rate",
        "P@rate",
        "percent",
        True,
        "Share of wrong ones among as many most suspicious labels as truly are wrong.",
        False,
    ),
    (
        "class_error",
        "Error over classes",
        "Class err",
        "percent",
        False,
        "Share of mistaken decisions, mean over observed classes.",
        False,
    ),
    ("best_f1", "F1, oracle", "F1 oracle", "score", True, "F1 at the threshold that clean labels choose.", True),
    ("called_wrong", "Called wrong", "Called", "percent", None, "Share of the labels called wrong.", False),
    ("changed", "Changed", "Changed", "percent", None, "Share of the labels changed.", False),
    ("noise_rate", "Noise rate", "Noise", "percent", None, "True share of wrong labels.", False),
)

#: All else: key, title, short title, unit, whether more is better, decimals, sentence, group.
_OTHERS: tuple[tuple[str, str, str, Unit, bool | None, int, str, Group], ...] = (
    (
        "label_accuracy.after",
        "Label accuracy, corrected",
        "Labels after",
        "percent",
        True,
        2,
        "Share of training labels that are right after the last correction.",
        "labels",
    ),
    (
        "label_accuracy.before",
        "Label accuracy, observed",
        "Labels before",
        "percent",
        None,
        2,
        "Share of training labels that are right as observed.",
        "labels",
    ),
    (
        "label_accuracy.f1_after",
        "F1 of labels, corrected",
        "F1 after",
        "percent",
        True,
        2,
        "Several labels a sample: F1 of the pairs after the last correction.",
        "labels",
    ),
    (
        "label_accuracy.f1_before",
        "F1 of labels, observed",
        "F1 before",
        "percent",
        None,
        2,
        "Several labels a sample: F1 of the pairs as observed.",
        "labels",
    ),
    ("seconds.total", "Seconds", "s", "seconds", False, 1, "Wall seconds of the run.", "cost"),
    ("samples_per_second", "Samples a second", "samples/s", "count", True, 0, "Trained samples a second.", "cost"),
    ("peak_memory.process", "Peak memory", "MB", "bytes", False, 0, "Most resident memory of the process.", "cost"),
    ("peak_memory.gpu", "Peak GPU memory", "GPU MB", "bytes", False, 0, "Most memory allocated on the GPU.", "cost"),
    ("energy.gpu", "Energy, GPU", "GPU J", "joules", False, 0, "Energy of the whole GPU, by its driver.", "cost"),
    ("energy.cpu", "Energy, CPU", "CPU J", "joules", False, 0, "Energy of all CPU packages, by the kernel.", "cost"),
)

_UNVERIFIED = "detection_unverified"


def _all() -> Iterator[Measure]:
    for key, title, short, unit, higher, sentence, group in _TESTED:
        for when, called, brief, said, oracle in _EPOCHS:
            digits = 2 if unit == "percent" else 3
            yield Measure(
                f"{key}.{when}",
                f"{title}, {called}",
                f"{short} {brief}",
                unit,
                higher,
                digits,
                f"{sentence}, {said}.",
                group,
                oracle,
            )
    found = [
        Measure(f"detection.{key}", title, short, unit, better, 3 if unit == "score" else 2, said, "detection", oracle)
        for key, title, short, unit, better, said, oracle in _DETECTED
    ]
    yield from found
    for one in found:
        yield replace(
            one,
            key=one.key.replace("detection", _UNVERIFIED),
            title=f"{one.title}, unverified",
            short=f"{one.short} unver.",
            description=f"{one.description} Over labels that nobody verified.",
        )
    for key, title, short, unit, better, decimals, said, group in _OTHERS:
        yield Measure(key, title, short, unit, better, decimals, said, group)


#: All measures with a name of their own, by key, in the order of tables.
MEASURES: dict[str, Measure] = {one.key: one for one in _all()}


def known(key: str) -> bool:
    """Whether a summary may hold a measure of this key."""
    return key in MEASURES or key.startswith(("seconds.", "peak_memory.", "evaluation."))


def measure(key: str) -> Measure:
    """The measure of a key; phases of a run, and whatever a summary has beyond the table, are named by their key."""
    if key in MEASURES:
        return MEASURES[key]
    head, _, rest = key.partition(".")
    if head == "seconds":
        return Measure(key, f"Seconds: {rest}", f"s {rest}", "seconds", False, 1, f"Wall seconds of {rest}.", "cost")
    if head == "peak_memory":
        return Measure(key, f"Peak memory: {rest}", f"MB {rest}", "bytes", False, 0, f"Most memory of {rest}.", "cost")
    if head == "evaluation" and rest.startswith(("plain.", "test.", "baseline.")):
        return _averaged(key, rest)
    return Measure(key, key, key, "score", None, 4, "As the summary has it.", "other")


def _averaged(key: str, rest: str) -> Measure:
    """A measure of evaluation in several views."""
    part, _, name = rest.partition(".")
    where = {"plain": "images as they are", "test": "averaged views", "baseline": "cross entropy, averaged views"}[part]
    lower = name in ("ece", "nll", "brier", "loss")
    unit: Unit = "score" if name in ("nll", "brier", "loss") else "percent"
    said = f"{name} on the test set after the last epoch, {where}."
    return Measure(key, f"{name}, {where}", f"{name} {part}", unit, not lower, 2, said, "accuracy")


def order(keys: set[str], first: str) -> list[str]:
    """Keys in the order of tables: the headline, the named ones, the rest by name."""
    rest = [key for key in MEASURES if key in keys] + sorted(key for key in keys if key not in MEASURES)
    return [key for key in dict.fromkeys((first, *rest)) if key in keys or key == first]
