"""URNet's equations, one pure function each: tensors in, tensors out, any floating dtype, any device.

Equations 1, 2, 7, 9 and 10, the loss, are the loop's own: weights multiply, and it mixes observed and corrected label.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from noisyrun.api import PAD


def class_weight(counts: Tensor, alpha: float, scale: str = "mean") -> Tensor:
    """w^c: what a label of each class counts.

    Parameters
    ----------
    counts
        int64 [C]: samples of each class.
    alpha
        0: every sample counts alike; 1: every class does.
    scale
        ``literal``: r_c / Σ r with r_c = 1/N_c, as printed. ``mean``: N / (C·N_c), which is the same up to a factor
        and has mean 1 over the samples, so that alpha means the same whatever the number of classes.

    Returns
    -------
    Tensor
        float64 [C]. A class without samples counts as one of mean r; C is the number of classes that have some.

    source: equations 3 and 4
    """
    present = counts > 0
    classes = int(present.sum())
    if classes == 0:
        return torch.ones(len(counts), dtype=torch.float64, device=counts.device)
    if scale == "literal":
        inverse = torch.where(present, 1 / counts.double(), 0.0)
        share = torch.where(present, inverse / inverse.sum(), 1 / classes)
    else:
        share = torch.where(present, counts.sum() / (classes * counts.double()), 1.0)
    return (1 - alpha) + alpha * share


def confused_classes(observed: Tensor, predicted: Tensor, num_classes: int, k: int) -> Tensor:
    """The k classes that samples of each class are most often taken for.

    The confusion matrix is never formed: at 50,000 classes it would take 10 GB, and nearly all of it is 0.

    Parameters
    ----------
    observed, predicted
        int64 [N]; `PAD` where a sample has none.

    Returns
    -------
    Tensor
        int64 [C, k], most confused first, the lower class where two tie; `PAD` where fewer are ever predicted.

    source: section 4.2, the matrix M
    """
    off = (observed != predicted) & (observed != PAD) & (predicted != PAD)
    code, count = (observed[off] * num_classes + predicted[off]).unique(return_counts=True)
    order = top_of_group(code // num_classes, -count, k)
    code = code[order]
    classes = code // num_classes
    found = torch.full((num_classes, k), PAD, dtype=torch.int64, device=observed.device)
    found[classes, place_in_group(classes)] = code % num_classes
    return found


def group_weight(sizes: Tensor, groups: Tensor) -> Tensor:
    """w^G: the share of all clustered samples that lie in a sample's group.

    Parameters
    ----------
    sizes
        int64 [g]: samples in each group.
    groups
        int64 [n]: the group of each sample of the class.

    Returns
    -------
    Tensor
        float32 [n], in (0, 1].

    source: equations 5 and 6
    """
    return (sizes[groups].double() / sizes.sum()).float()


def correlation(images: Tensor, texts: Tensor) -> Tensor:
    """Cosine of each row of [n, E] with the same row of [n, E]: [n]; 0 for a zero vector.

    source: w^T, after equation 8
    """
    return functional.cosine_similarity(images, texts, dim=1, eps=1e-12)


def correlation_loss(images: Tensor, texts: Tensor, wrong: Tensor) -> Tensor:
    """How much more alike images are to a wrong label's text than to their own: a scalar, from −2 to 2.

    The mean over the samples in place of the sum, so that the rate does not depend on how many there are.

    Parameters
    ----------
    images, texts, wrong
        [n, E]: the image side, the text side of its label, that of a random other label.

    source: equation 8
    """
    return (correlation(images, wrong) - correlation(images, texts)).mean()


def bag_features(features: Tensor, saliency: Tensor, bags: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """F_bag: the features of each bag, weighted by a softmax over the saliency of its samples.

    Parameters
    ----------
    features
        [B, D].
    saliency
        [B]: before the softmax.
    bags
        int64 [B]: number of the bag each sample is in, from 0, below B.
    mask
        bool [B]: False for a row that counts in no bag.

    Returns
    -------
    tuple of Tensor
        [B, D] by number of the bag, 0 where there is no such bag; and the saliency after the softmax, [B, B] by bag
        and sample.

    source: section 4.4, F_ins × S_ins
    """
    numbers = torch.arange(len(bags), device=bags.device).unsqueeze(1)
    member = (numbers == bags) & mask
    # A finite low value: a bag without members stays free of NaN, in the gradient too.
    logits = saliency.unsqueeze(0).expand_as(member).masked_fill(~member, torch.finfo(saliency.dtype).min)
    shares = torch.softmax(logits, dim=1) * member
    return shares @ features, shares


def mixed_label(given: Tensor, values: Tensor, predicted: Tensor, beta: float) -> tuple[Tensor, Tensor]:
    """β·y + (1 − β)·ŷ, each class once.

    Parameters
    ----------
    given, values
        int64 [R, k] and [R, k]: y, as classes (`PAD` for none; one may appear twice) and their values.
    predicted
        int64 [R]: ŷ.

    Returns
    -------
    tuple of Tensor
        Classes int64 [R, k + 1] and values [R, k + 1], which sum to 1 over a row; `PAD` and 0 where a class has
        nothing. A row without any y is ŷ.

    source: equation 10
    """
    values = values.masked_fill(given == PAD, 0.0)
    none = values.sum(1) == 0
    own = torch.where(none, 1.0, 1 - beta).to(values.dtype)
    classes = torch.cat([given, predicted.unsqueeze(1)], 1)
    parts = torch.cat([beta * values / values.sum(1, keepdim=True).clamp(min=1e-12), own.unsqueeze(1)], 1)
    same = classes.unsqueeze(2) == classes.unsqueeze(1)
    total = (same * parts.unsqueeze(1)).sum(2)
    first = same.int().argmax(2) == torch.arange(classes.shape[1], device=classes.device)
    keep = first & (classes != PAD) & (total > 0)
    return classes.masked_fill(~keep, PAD), total.masked_fill(~keep, 0.0)


def top_of_group(groups: Tensor, keys: Tensor, k: int) -> Tensor:
    """Positions of the k lowest keys of each group, int64, by group and then by key; ties in the order given.

    Parameters
    ----------
    groups
        int64 [n], not negative.
    keys
        [n].
    """
    order = keys.argsort(stable=True)
    order = order[groups[order].argsort(stable=True)]
    return order[place_in_group(groups[order]) < k]


def place_in_group(groups: Tensor) -> Tensor:
    """int64 [n]: how many before it are of the same group; groups int64 [n], ascending and not negative."""
    counts = torch.bincount(groups)
    return torch.arange(len(groups), device=groups.device) - (counts.cumsum(0) - counts)[groups]
