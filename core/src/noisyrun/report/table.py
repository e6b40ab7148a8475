"""The table at the end of a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich import box
from rich.markup import escape
from rich.table import Table

from noisyrun.report.numbers import joules, percent, points, seconds, size

ACCURACY = (
    ("last", "after the last epoch"),
    ("best_noisy_val", "at the best noisy validation"),
    ("oracle", "oracle: best on the test set *"),
)
ORACLE_NOTE = "* chosen on the test labels themselves: an upper bound that no honest selection can reach"


def results(summary: Mapping[str, Any]) -> Iterator[Table | str]:
    """Tables and lines that say what came of a run; what was not measured is left out.

    Parameters
    ----------
    summary
        The content of ``summary.json``; keys may be absent.
    """
    accuracy = summary.get("accuracy") or {}
    if any(accuracy.get(key) is not None for key, _ in ACCURACY):
        beside = summary.get("baseline") or {}
        baseline = beside.get("accuracy")
        several = summary.get("ap_all")
        made = accuracy_table(accuracy, baseline, summary.get("evaluation"), "test mAP" if several else "test accuracy")
        for row in more_rows(summary, beside if baseline is not None else None):
            made.add_row(*row)
        yield made
        if several:
            yield accuracy_table(several, beside.get("ap_all"), None, "test AP over all pairs")
        if accuracy.get("oracle") is not None:
            yield f"[dim]{ORACLE_NOTE}[/]"
    labels = label_table(summary.get("label_accuracy") or {}, summary.get("detection") or {})
    if labels is not None:
        yield labels
    yield from costs(summary.get("seconds") or {}, summary.get("peak_memory") or {}, summary.get("energy") or {})
    yield from where(summary)


def accuracy_table(
    accuracy: Mapping[str, Any],
    baseline: Mapping[str, Any] | None,
    evaluation: Mapping[str, Any] | None = None,
    title: str = "test accuracy",
) -> Table:
    """Test accuracy, beside that of the baseline where one was trained; and averaged over views and networks."""
    made = plain_table(title, "this run")
    if baseline is not None:
        made.add_column("cross entropy", justify="right")
        made.add_column("gain", justify="right")
    rows = [(key, words, accuracy.get(key), (baseline or {}).get(key)) for key, words in ACCURACY]
    if evaluation and (averaged := evaluation.get("test") or {}).get("accuracy") is not None:
        words = f"after the last epoch, with {evaluation['shown']}"
        rows.insert(1, ("last", words, averaged["accuracy"], (evaluation.get("baseline") or {}).get("accuracy")))
    for key, words, value, other in rows:
        if value is None:
            continue
        style = "dim" if key == "oracle" else ""
        row = [words, f"[bold]{percent(value)}[/]" if key != "oracle" else percent(value)]
        if baseline is not None:
            row += [percent(other), "" if other is None else gain(value - other)]
        made.add_row(*row, style=style)
    return made


def more_rows(summary: Mapping[str, Any], baseline: Mapping[str, Any] | None) -> Iterator[list[str]]:
    """Rows of other measures after the last epoch, beside those of the baseline where one was trained."""
    for words, path, better in (
        ("top-5 accuracy, last", ("top5", "last"), 1),
        ("calibration error (ECE), last", ("calibration", "ece", "last"), -1),
    ):
        value, other = _at(summary, path), _at(baseline, path)
        if value is None:
            continue
        row = [words, percent(value)]
        if baseline is not None:
            row += [percent(other), "" if other is None else gain(value - other, better)]
        yield row


def _at(summary: Mapping[str, Any] | None, path: tuple[str, ...]) -> float | None:
    found: Any = summary
    for key in path:
        found = (found or {}).get(key)
    return found


#: Measures whose key is not their name.
_MEASURES = {
    "map": "mAP",
    "ap_all": "AP over all pairs",
    "top5": "top-5 accuracy",
    "ece": "calibration error (ECE)",
    "nll": "negative log-likelihood",
    "brier": "Brier score",
}
#: Measures of which lower is better; those that are no shares are no percentages either.
_LOWER = {"ece", "nll", "brier"}
_NO_SHARES = {"nll", "brier"}


def evaluation_table(evaluation: Mapping[str, Any]) -> Table:
    """Every measure on the test set: of one network on images as they are, and averaged."""
    made = plain_table("test set", "one network, images as they are")
    averaged = evaluation["test"] if evaluation["shown"] else {}
    if averaged:
        made.add_column(evaluation["shown"], justify="right")
        made.add_column("gain", justify="right")
    several = "map" in evaluation["plain"]
    for name, value in evaluation["plain"].items():
        if several and name == "accuracy":  # the same as mAP
            continue
        form = "{:.3f}".format if name in _NO_SHARES else percent
        row = [_MEASURES.get(name, name.replace("_", " ")), f"[bold]{form(value)}[/]"]
        if name in averaged:
            better = -1 if name in _LOWER else 1
            change = f"{averaged[name] - value:+.3f}" if name in _NO_SHARES else None
            row += [f"[bold]{form(averaged[name])}[/]", gain(averaged[name] - value, better, change)]
        made.add_row(*row)
    return made


def label_table(accuracy: Mapping[str, Any], detection: Mapping[str, Any]) -> Table | None:
    """What label phases did to the labels; how right that was where clean labels are known."""
    made = plain_table("training labels", "")
    before, after = accuracy.get("before"), accuracy.get("after")
    if before is not None:
        made.add_row("right as observed", percent(before))
    if after is not None:
        change = "" if before is None else f"  ({gain(after - before)})"
        made.add_row("right after correction", f"[bold]{percent(after)}[/]{change}")
    before, after = accuracy.get("f1_before"), accuracy.get("f1_after")
    if before is not None:
        made.add_row("F1 of the labels as observed", percent(before))
    if after is not None:
        change = "" if before is None else f"  ({gain(after - before)})"
        made.add_row("F1 after correction", f"[bold]{percent(after)}[/]{change}")
    for key, words in (("changed", "changed by correction"), ("called_wrong", "called wrong")):
        if detection.get(key) is not None:
            made.add_row(words, percent(detection[key]))
    for key, words in (("auroc", "AUROC"), ("average_precision", "average precision"), ("f1", "F1")):
        if detection.get(key) is not None:
            made.add_row(f"wrong labels found: {words}", f"{detection[key]:.3f}")
    return made if made.row_count else None


def costs(
    spent: Mapping[str, float], memory: Mapping[str, int], energy: Mapping[str, float | None] | None = None
) -> Iterator[str]:
    """Time by phase, peak memory and energy, a line each."""
    total = spent.get("total", sum(spent.values()))
    phases = sorted(((name, s) for name, s in spent.items() if name != "total" and s >= 0.05), key=lambda row: -row[1])
    if spent:
        parts = " · ".join(f"{name.replace('_', ' ')} {seconds(s)}" for name, s in phases)
        yield f"[dim]time[/]    {seconds(total)}" + (f"  [dim]({parts})[/]" if parts else "")
    if memory:
        yield "[dim]memory[/]  " + " · ".join(f"{size(count)} {name}" for name, count in memory.items() if count)
    used = {name: value for name, value in (energy or {}).items() if value is not None}
    if used:
        yield "[dim]energy[/]  " + " · ".join(f"{joules(value)} {name}" for name, value in used.items())


def where(summary: Mapping[str, Any]) -> Iterator[str]:
    """Where things were written, and how to look at them."""
    out = summary.get("out")
    if out:
        files = " · ".join(escape(name) for name in (summary.get("files") or {}).values())
        yield f"[dim]written[/] {escape(str(out))}" + (f"  [dim]({files})[/]" if files else "")
    for name, tracker in (summary.get("tracking") or {}).items():
        if tracker.get("open"):
            yield f"[dim]{escape(name)}[/]  {escape(tracker['open'])}"


def gain(difference: float, better: int = 1, words: str | None = None) -> str:
    """A difference in points, green where it is a gain and red where it is a loss.

    Parameters
    ----------
    better
        1 where higher is better, −1 where lower is.
    words
        In place of points.
    """
    sign = better * difference
    colour = "green" if sign > 0 else "red" if sign < 0 else "dim"
    return f"[{colour}]{points(difference) if words is None else words}[/]"


def plain_table(title: str, value: str) -> Table:
    """A table of two columns in the house's style."""
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    made.add_column(title, header_style="bold", no_wrap=True)
    made.add_column(value, justify="right", no_wrap=True)
    return made
