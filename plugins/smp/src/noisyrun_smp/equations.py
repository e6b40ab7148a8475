"""SMP's equations, one pure function each: tensors in, tensors out, any floating dtype, any device.

Equations (1) to (4), the loss, are the loop's own: it mixes the losses of observed and corrected labels by alpha.
"""

from __future__ import annotations

import torch
from torch import Tensor

from noisyrun.api import ops


def similarity(features: Tensor) -> Tensor:
    """Cosine between all pairs of m samples of one class, S.

    Parameters
    ----------
    features
        Float [m, D].

    Returns
    -------
    Tensor
        [m, m], from −1 to 1; a zero vector has similarity 0 with all, itself included.

    source: equation 5
    """
    return ops.cosine(features, features)


def similarity_threshold(similarities: Tensor, share: float, side: str = "top") -> Tensor:
    """S_c: the similarity that a `share` of all similarities exceeds (top), or falls below (bottom).

    Parameters
    ----------
    similarities
        [m, m], with their diagonal, as the paper ranks the elements of S.

    Returns
    -------
    Tensor
        A scalar: one of the elements.

    source: equation 6, and the sentence after it
    """
    size = similarities.numel()
    beyond = int(share * size)
    rank = size - beyond if side == "top" else beyond + 1
    return ops.kth_value(similarities, rank)


def density(similarities: Tensor, threshold: Tensor) -> Tensor:
    """ρ: how many samples are more alike than S_c, less how many are less alike.

    Returns
    -------
    Tensor
        [m], whole numbers from −m to m.

    source: equation 6; sign(0) = 0
    """
    return (similarities - threshold).sign_().sum(1)


def eta(similarities: Tensor, rho: Tensor, of: Tensor | None = None) -> Tensor:
    """η: similarity to the most alike sample of strictly higher density; for the densest, to the least alike of all.

    Samples that tie for the highest density all count as densest.

    Parameters
    ----------
    similarities
        [m, m].
    rho
        [m].
    of
        int64 [k]: the samples asked for; all by default.

    Returns
    -------
    Tensor
        [k], from −1 to 1.

    source: equation 7
    """
    own, rows = (rho, similarities) if of is None else (rho[of], similarities[of])
    nearest = torch.where(rho.unsqueeze(0) > own.unsqueeze(1), rows, -torch.inf).amax(1)
    return torch.where(own < rho.max(), nearest, rows.amin(1))


def select_prototypes(rho: Tensor, eta: Tensor, p: int, limit: float) -> Tensor:
    """The p samples of highest density among those with η below a limit; where fewer qualify, the lowest η fill up.

    Equal densities (or η) are taken in the order given.

    Returns
    -------
    Tensor
        int64 [min(p, m)]: positions, best first.

    source: section 3.3, after equation 7; the filling up is ours
    """
    by_density = rho.argsort(descending=True, stable=True)
    by_eta = eta.argsort(stable=True)
    return torch.cat([by_density[eta[by_density] < limit], by_eta[eta[by_eta] >= limit]])[:p]


def density_peaks(features: Tensor, p: int, share: float) -> Tensor:
    """The p samples of highest γ = ρ·δ: neighbours within the cut-off distance × distance to a denser sample.

    Parameters
    ----------
    features
        Float [m, D].
    share
        Share of all distances that lie below the cut-off.

    Returns
    -------
    Tensor
        int64 [min(p, m)]: positions, best first.

    source: Rodriguez and Laio, Science 2014; table 4 compares with it
    """
    distances = torch.cdist(features, features)
    cut = ops.kth_value(distances, max(1, int(share * distances.numel())))
    rho = (distances < cut).sum(1)
    denser = rho.unsqueeze(0) > rho.unsqueeze(1)
    nearest = distances.masked_fill(~denser, torch.inf).amin(1)
    delta = torch.where(rho < rho.max(), nearest, distances.amax(1))
    return (rho * delta).argsort(descending=True, stable=True)[:p]


def mean_unit(vectors: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean of each class's unit-length prototypes: its dot product with a unit vector is the mean cosine.

    Parameters
    ----------
    vectors
        Float [C, P, E].
    weights
        Float [C, P]; 0 for a prototype that does not exist.

    Returns
    -------
    Tensor
        [C, E]; 0 for a class without prototypes.

    source: equation 8, with the sum over prototypes taken before the product
    """
    share = weights / weights.sum(1, keepdim=True).clamp(min=torch.finfo(weights.dtype).tiny)
    return torch.einsum("cp,cpe->ce", share, ops.unit(vectors))


def mean_scores(features: Tensor, class_vectors: Tensor) -> Tensor:
    """σ: mean cosine of each sample with each class's prototypes.

    Parameters
    ----------
    features
        Float [R, E].
    class_vectors
        [C, E], from `mean_unit`.

    Returns
    -------
    Tensor
        [R, C], from −1 to 1.

    source: equation 8
    """
    length = torch.linalg.vector_norm(features, dim=1, keepdim=True)
    # The product of the raw features is scaled afterwards: [R, C] values in place of another [R, E].
    return (features @ class_vectors.T).div_(length.clamp_(min=1e-12))


def max_scores(features: Tensor, vectors: Tensor, mask: Tensor) -> Tensor:
    """Highest cosine of each sample with each class's prototypes: the alternative to equation 8.

    Parameters
    ----------
    features
        Float [R, E].
    vectors
        Unit vectors [C, P, E].
    mask
        bool [C, P].

    Returns
    -------
    Tensor
        [R, C]; −inf for a class without prototypes.

    source: section 3.3, after equation 8
    """
    length = torch.linalg.vector_norm(features, dim=1, keepdim=True).clamp_(min=1e-12)
    best = features.new_full((len(features), len(vectors)), -torch.inf)
    for slot in range(vectors.shape[1]):  # never [R, C, P]
        cosines = (features @ vectors[:, slot].T).masked_fill_(~mask[:, slot], -torch.inf)
        best = torch.maximum(best, cosines, out=best)
    return best.div_(length)


def corrected_label(scores: Tensor) -> Tensor:
    """ŷ: the class of the highest similarity; the first of those that tie.

    Parameters
    ----------
    scores
        [R, C].

    Returns
    -------
    Tensor
        int64 [R].

    source: equation 9
    """
    return scores.max(1).indices
