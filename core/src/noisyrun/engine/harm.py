"""Whether corrections look harmful: from verification labels where there are some, else from the classifier."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from noisyrun.api.bank import FeatureBank
from noisyrun.api.labels import PAD, Labels

#: One-sided 5 % point of the normal distribution.
_SURE = 1.645
#: Changes above this multiple of the estimated noise are "far more" than there is noise.
FAR_MORE = 1.5
#: Share of observed labels that is taken to be right, at the least.
MOSTLY_RIGHT = 0.5
#: Rows looked at at a time.
_ROWS = 65_536


def harm_warning(bank: FeatureBank, changes: Tensor, corrected: Labels, metrics: dict[str, float]) -> str | None:
    """One line that says that corrections look harmful, and why; None when they do not.

    Parameters
    ----------
    changes
        bool [N]: samples whose label was changed.
    corrected
        What the labels are now.
    metrics
        Takes the numbers that the judgement rests on.
    """
    if not bool(changes.any()):
        return None
    checked = bank.verified("held")
    if not bool((checked >= 0).any()):
        checked = bank.verified("all")
    if bool((checked >= 0).any()):
        return _by_verification(checked, changes, metrics)
    if bank.task.multi:
        return None
    return _by_classifier(bank, changes, corrected.single, metrics)


def verified_accuracy(verified: Tensor, changes: Tensor) -> tuple[float, float, float]:
    """Accuracy of observed and corrected labels on verified samples, and how sure the loss is.

    A label verified right and changed is wrong now. A label verified wrong and kept is still wrong. What a label
    verified wrong was changed to is not known: the corrector is taken to be right on those as often as it is on the
    labels verified right (where it is right exactly when it keeps them), but never more often than it changes them.
    That is kind to it, since features are trained on the very labels that are verified right.

    Parameters
    ----------
    verified
        int8 [N]: 1, 0 or −1.
    changes
        bool [N].

    Returns
    -------
    before, after
        In [0, 1].
    z
        (losses − gains) / √(losses + gains), McNemar's test: above 1.645 the loss is no accident (one-sided, 5 %).
    """
    right, wrong = verified == 1, verified == 0
    rights, wrongs = int(right.sum()), int(wrong.sum())
    lost = int((right & changes).sum())
    kept_share = 1 - lost / rights if rights else 1.0
    gained = min(float((wrong & changes).sum()), kept_share * wrongs)
    total = rights + wrongs
    z = (lost - gained) / math.sqrt(lost + gained) if lost + gained > 0 else 0.0
    return rights / total, (rights - lost + gained) / total, z


def noise_rate(bank: FeatureBank) -> float:
    """Estimated share of wrong labels, counted the way of confident learning.

    t_j is the mean probability of class j over the samples labelled j. A sample is counted for the most probable of
    the classes whose probability reaches their t_j, if any does. Of each class, the share of its counted samples that
    are counted for another class stands for all of its samples. Single-label; classes beyond the bank's top-k
    predictions are left out, but for the label itself.

    source: Northcutt, Jiang, Chuang, "Confident Learning", JAIR 2021, equations 1 to 3. It counts too few wrong
    labels when the classifier has memorised them, and too many when it is weak.
    """
    classes = bank.num_classes
    labels = bank.labels.single
    given = labels != PAD
    sizes = torch.bincount(labels[given], minlength=classes)
    sums = torch.zeros(classes, dtype=torch.float64)
    sums.index_add_(0, labels[given], bank.label_probs[given, 0].double())
    threshold = (sums / sizes.clamp(min=1)).float()
    threshold[sizes == 0] = math.inf
    counted = torch.zeros(classes, dtype=torch.int64)
    elsewhere = torch.zeros(classes, dtype=torch.int64)
    for start in range(0, len(labels), _ROWS):
        part = slice(start, start + _ROWS)
        rows = given[part]
        own, top, probs = labels[part][rows], bank.top_classes[part][rows], bank.top_probs[part][rows]
        reach = probs >= threshold[top]
        any_reach = reach.any(1)
        # Best first, so that the first that reaches its threshold is the most probable one that does.
        best = top.gather(1, reach.float().argmax(1, keepdim=True))[:, 0]
        own_reach = bank.label_probs[part][rows, 0] >= threshold[own]
        other = any_reach & (best != own)
        counted += torch.bincount(own[any_reach | own_reach], minlength=classes)
        elsewhere += torch.bincount(own[other], minlength=classes)
    share = elsewhere.double() / counted.clamp(min=1)
    return float((share * sizes).sum() / sizes.sum().clamp(min=1))


def correction_support(bank: FeatureBank, changes: Tensor, corrected: Tensor) -> float:
    """Mean probability that the classifier gives the corrected labels of the changed samples.

    A weak classifier makes all labels look wrong, so that `noise_rate` proves nothing. But it also gives the
    corrected labels little, and that bounds how many can be right: it has learned P(observed = c), and of samples
    whose true class is c a share r is labelled so; hence P(true = c) ≤ P(observed = c) / r. Take r, the share of
    right labels, to be one half at least. Then among a changed share s of all labels at most 2·support·s are right
    now, while at least s − ½ were right before; where the first is less than the second, labels were lost.

    Parameters
    ----------
    corrected
        int64 [N]. A class beyond the bank's top-k predictions counts as probability 0.
    """
    hits = bank.top_classes[changes] == corrected[changes].unsqueeze(1)
    return float((bank.top_probs[changes] * hits).sum(1).double().mean())


def _by_verification(verified: Tensor, changes: Tensor, metrics: dict[str, float]) -> str | None:
    before, after, z = verified_accuracy(verified, changes)
    metrics["verified_accuracy_before"], metrics["verified_accuracy_after"] = before, after
    if z <= _SURE:
        return None
    count = int((verified >= 0).sum())
    return (
        f"corrected labels look worse than the observed ones: on {count} verified samples about {after:.1%} of them "
        f"are right, of the observed ones {before:.1%}; correct fewer (--corrections.share 0.2) or leave correction out"
    )


def _by_classifier(bank: FeatureBank, changes: Tensor, corrected: Tensor, metrics: dict[str, float]) -> str | None:
    share = float(changes.float().mean())
    metrics["estimated_noise"] = estimate = noise_rate(bank)
    metrics["correction_support"] = support = correction_support(bank, changes, corrected)
    advice = "correct fewer (--corrections.share 0.2), or verify some labels to know (--verify, or a column `verified`)"
    if share > FAR_MORE * estimate:
        return (
            f"corrections may do harm: {share:.1%} of the labels were changed, but by the classifier's own "
            f"probabilities only about {estimate:.1%} seem wrong; {advice}"
        )
    if support / MOSTLY_RIGHT * share < share - MOSTLY_RIGHT:
        return (
            f"corrections may do harm: {share:.1%} of the labels were changed, to classes that the classifier itself "
            f"gives only {support:.1%} on average; {advice}"
        )
    return None
