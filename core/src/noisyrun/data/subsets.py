"""Which samples are held out, verified or trusted: drawn by stable index, stratified by class."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from noisyrun.api import PAD, UserError
from noisyrun.api.ops import spans
from noisyrun.api.side_info import Text
from noisyrun.data.hashing import key, order
from noisyrun.data.hints import did_you_mean

_PER_CLASS = re.compile(r"(\d+)/class\Z")
_TOP = re.compile(r"top(\d+)\Z")
_DRAWN = re.compile(r"(random(?=-)|semantic)(?:-(\d+))?\Z")


@dataclass(frozen=True)
class Selection:
    """What ``--verify`` and ``--clean`` ask for.

    Attributes
    ----------
    share
        Share of the samples, in (0, 1].
    per_class
        Or so many samples of each class; None: by share.
    classes
        The words after the colon, which name classes or say how to draw them; None: all classes.
    top
        The labels are judged by the best `top` classes of a model, in place of clean labels; None: by clean labels.
    """

    share: float = 1.0
    per_class: int | None = None
    classes: str | None = None
    top: int | None = None


def parse_selection(flag: str, text: str, example: str = "cat") -> Selection:
    """Read ``0.05``, ``250/class`` or ``all``, then ``:CLASSES``, then ``:top5`` (which may also stand alone).

    Raises
    ------
    UserError
        When the text is none of these.
    """
    amount, *rest = text.strip().split(":")
    top = None
    if match := _TOP.match(rest[-1] if rest else amount):
        top = int(match[1])
        amount, rest = (amount, rest[:-1]) if rest else ("all", [])
    if top == 0:
        raise UserError(f"{flag}: top0 judges by no class; top5 is usual")
    classes = ":".join(rest) if rest else None
    if classes is not None and not classes.strip(" ,"):
        raise UserError(f"{flag}: no class after the colon (got {text!r})")
    if match := _PER_CLASS.match(amount):
        if int(match[1]) == 0:
            raise UserError(f"{flag}: 0/class is none")
        return Selection(1.0, int(match[1]), classes, top)
    if amount == "all":
        return Selection(1.0, None, classes, top)
    try:
        share = float(amount)
    except ValueError:
        share = -1.0
    if not 0 < share <= 1:
        raise UserError(
            f"{flag}: must be a share in (0, 1], a number a class or all, as in 0.05, 250/class or 0.05:{example} "
            f"(got {text!r})"
        )
    return Selection(share, None, classes, top)


def chosen_classes(flag: str, words: str | None, text: Text, seed: int) -> tuple[int, ...] | None:
    """The classes a selection asks for, ascending; None for all.

    Parameters
    ----------
    words
        Names with commas between; ``@FILE`` with a name on each line; ``random-N``; ``semantic`` or ``semantic-N``: one
        class (or N, taken in turn) of every group that shares an ancestor two levels up in the tree over the classes.

    Raises
    ------
    UserError
        When a class is unknown, there are fewer than N, or there is no tree.
    """
    if words is None:
        return None
    named = {name: c for c, name in enumerate(text.names)}
    if words.startswith("@"):
        return _of_names(flag, _lines(flag, words[1:]), named, text)
    match = _DRAWN.match(words)
    if match is None or words in named:
        return _of_names(flag, [word.strip() for word in words.split(",") if word.strip()], named, text)
    how, count = match[1], None if match[2] is None else int(match[2])
    total = len(text.names)
    if count is not None and not 1 <= count <= total:
        raise UserError(f"{flag}: {words}, but there are {total} classes")
    shuffled = order(key("verify", "classes", seed), torch.arange(total)).tolist()
    if how == "semantic":
        if text.parents is None:
            raise UserError(f"{flag}: {words} needs a tree over the classes (--data.tree FILE)")
        shuffled = _in_turn(shuffled, _groups(text, text.parents), count is None)
    return tuple(sorted(shuffled[:count]))


def _of_names(flag: str, words: list[str], named: Mapping[str, int], text: Text) -> tuple[int, ...]:
    wnids = {} if text.wnids is None else {wnid: c for c, wnid in enumerate(text.wnids)}
    for word in words:
        if word not in named and word not in wnids:
            raise UserError(f"{flag}: no class {word!r}{did_you_mean(word, named)}")
    return tuple(sorted({named[word] if word in named else wnids[word] for word in words}))


def _lines(flag: str, path: str) -> list[str]:
    """Names in a file, one a line; a line that begins with # says nothing, nor does one that ends in a tab and 0.

    Lists of held-out classes name all classes, those that are held out with a 0 and the others with a 1.
    """
    try:
        lines = [line.strip() for line in Path(path).expanduser().read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise UserError(f"{flag}: cannot read the list of classes {path}: {reason}") from None
    cells = [line.partition("\t") for line in lines if line and not line.startswith("#")]
    words = [name.strip() for name, _, mark in cells if mark != "0"]
    if not words:
        raise UserError(f"{flag}: {path} names no class")
    return words


def _groups(text: Text, parents: Mapping[str, str]) -> list[str]:
    """What each class shares with its group: the node two levels up, or the highest below that.

    Raises no error for a class that the tree does not know: it is a group of its own.
    """
    found = []
    for c, name in enumerate(text.names):
        node = name
        if node not in parents and text.wnids is not None:
            node = text.wnids[c]
        for _ in range(2):
            node = parents.get(node, node)
        found.append(node)
    return found


def _in_turn(classes: list[int], groups: list[str], one_each: bool) -> list[int]:
    """Classes so ordered that every group gives its first before any gives its second; only those when `one_each`."""
    rounds: dict[str, int] = {}
    turn = []
    for c in classes:
        rounds[groups[c]] = rounds.get(groups[c], -1) + 1
        turn.append(rounds[groups[c]])
    placed = sorted(zip(turn, range(len(classes))))
    return [classes[place] for number, place in placed if number == 0 or not one_each]


def select(selection: Selection, groups: Tensor, index: Tensor, stream: int, among: Tensor) -> Tensor:
    """The samples that a selection draws: bool [N].

    Parameters
    ----------
    groups
        int64 [N]: class of each sample.
    index
        int64 [N]: stable index, which decides the draw.
    stream
        Key of the draw.
    among
        bool [N]: samples of the classes that are asked for.
    """
    if selection.per_class is None:
        return draw(groups, selection.share, index, stream, among)
    rows = among.nonzero()[:, 0]
    drawn = rows[order(stream, index[rows])]
    chosen = drawn[_rank_in_group(groups[drawn])[0] < selection.per_class]
    return torch.zeros(len(groups), dtype=torch.bool).index_fill_(0, chosen, True)


def _rank_in_group(groups: Tensor) -> tuple[Tensor, Tensor]:
    """int64 [n] each: place of a sample among those of its group, from 0 in the order given; size of its group."""
    _, group, counts = torch.unique(groups, return_inverse=True, return_counts=True)
    by_group = torch.argsort(group, stable=True)
    starts = counts.cumsum(0) - counts
    rank = torch.empty_like(group)
    rank[by_group] = torch.arange(len(group)) - starts[group[by_group]]
    return rank, counts[group]


def draw(groups: Tensor, share: float, index: Tensor, stream: int, among: Tensor | None = None) -> Tensor:
    """A share of the samples, stratified.

    Each group gives as near its share as whole samples allow, and the total is exact: round(share · n).

    Parameters
    ----------
    groups
        int64 [N]: what to stratify by.
    index
        int64 [N]: stable index, which decides the draw.
    stream
        Key of the draw.
    among
        bool [N]: samples to draw from; all by default.

    Returns
    -------
    Tensor
        bool [N].
    """
    rows = torch.arange(len(groups)) if among is None else among.nonzero()[:, 0]
    drawn = rows[order(stream, index[rows])]
    # Each group's samples, spread evenly over (0, 1) in drawn order: the lowest share of all places is stratified.
    rank, size = _rank_in_group(groups[drawn])
    place = (rank.double() + 0.5) / size
    chosen = drawn[torch.argsort(place, stable=True)[: round(share * len(rows))]]
    mask = torch.zeros(len(groups), dtype=torch.bool)
    mask[chosen] = True
    return mask


def of_classes(labels: Tensor, classes: tuple[int, ...] | None) -> Tensor:
    """bool [N]: samples with a label, int64 [N, k], among some classes; all samples when those are None."""
    if classes is None:
        return torch.ones(len(labels), dtype=torch.bool)
    return torch.isin(labels, torch.tensor(classes)).any(1)


def same_labels(a: Tensor, b: Tensor) -> Tensor:
    """bool [N]: whether two padded sets of labels, int64 [N, k] and [N, q], are the same."""
    wider = max(a.shape[1], b.shape[1])
    fill = torch.nn.functional.pad
    a, b = (fill(x, (0, wider - x.shape[1]), value=-1).sort(1).values for x in (a, b))
    return (a == b).all(1)


def held_half(groups: Tensor, verified: Tensor, index: Tensor, seed: int) -> Tensor:
    """bool [N]: the half of the verification labels that is kept for thresholds and early stopping.

    Stratified by class and by what the verification says.
    """
    strata = groups * 2 + (verified == 1).long()
    return draw(strata, 0.5, index, key("verify", "held", seed), verified >= 0)


def among_top(labels: Tensor, logits: Tensor, top: int) -> Tensor:
    """bool [N]: whether all labels of a sample, int64 [N, k], are among the best `top` classes of its logits [N, C].

    Notes
    -----
    Source: Lee et al., CVPR 2018, section 4.1, "pseudo-verification labels".
    """
    right = torch.ones(len(labels), dtype=torch.bool)
    count = min(top, logits.shape[1])
    for rows in spans(len(labels), 12 * logits.shape[1]):
        best = logits[rows].float().topk(count, dim=1).indices
        found = (labels[rows].unsqueeze(2) == best.unsqueeze(1)).any(2) | (labels[rows] == PAD)
        right[rows] = found.all(1)
    return right
