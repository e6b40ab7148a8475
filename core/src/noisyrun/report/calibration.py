"""How well stated probabilities fit what is true: calibration error, negative log-likelihood and Brier score."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from noisyrun.api.labels import PAD

#: Bins of equal width over [0, 1] of the expected calibration error, as in Guo et al. 2017.
BINS = 15


class Calibration:
    """Adds up batches, on their device and without waiting for it, until the measures are asked for.

    The expected calibration error is that of C. Guo, G. Pleiss, Y. Sun and K. Weinberger, *On calibration of modern
    neural networks*, ICML 2017: bins of equal width ((m − 1)/15, m/15], and in each the distance of the mean
    confidence from the share that is right, weighed by the bin's size.

    Examples
    --------
    >>> told = Calibration(torch.device("cpu"))
    >>> told.add(torch.tensor([[0.8, 0.2], [0.6, 0.4]]).log(), torch.tensor([0, 1]))
    >>> {name: round(value, 3) for name, value in told.measures().items()}
    {'ece': 0.4, 'nll': 0.57, 'brier': 0.4}
    """

    def __init__(self, device: torch.device) -> None:
        #: By bin: how many, sum of confidences, how many are right.
        self._bins = torch.zeros(BINS, 3, dtype=torch.float64, device=device)
        self._nll = torch.zeros((), dtype=torch.float64, device=device)
        self._brier = self._nll.clone()

    def add(self, log_probs: Tensor, truth: Tensor) -> None:
        """Samples with one label.

        Parameters
        ----------
        log_probs
            float [B, C]: logarithms of probabilities that sum to 1.
        truth
            int64 [B]; `PAD`: not known, and left out.
        """
        known, true = truth != PAD, truth.clamp(min=0)
        probs = log_probs.exp()
        confidence, said = probs.max(1)
        of_true = probs.gather(1, true[:, None])[:, 0].double()
        self._add(
            confidence.double(),
            said == true,
            known,
            nll=-log_probs.gather(1, true[:, None])[:, 0].double(),
            brier=probs.square().sum(1).double() - 2 * of_true + 1,
        )

    def add_pairs(self, probs: Tensor, nll: Tensor, holds: Tensor, known: Tensor) -> None:
        """Samples with several labels: each (sample, class) pair is a case of its own.

        Parameters
        ----------
        probs
            float [B, C]: the probability that the class holds.
        nll
            float [B, C]: binary cross entropy of each pair.
        holds, known
            bool [B, C]: whether the class truly holds, and whether that is known.
        """
        confidence = probs.double().flatten()
        right = holds.flatten()
        self._add(confidence, right, known.flatten(), nll.double().flatten(), (confidence - right.double()).square())

    def _add(self, confidence: Tensor, right: Tensor, known: Tensor, nll: Tensor, brier: Tensor) -> None:
        zero = confidence.new_zeros(())
        bins = (confidence * BINS).ceil().long().sub_(1).clamp_(0, BINS - 1)
        counts = torch.stack([torch.ones_like(confidence), confidence, right.double()], 1)
        self._bins.index_add_(0, bins, torch.where(known[:, None], counts, zero))
        self._nll += torch.where(known, nll, zero).sum()
        self._brier += torch.where(known, brier, zero).sum()

    def join(self, total: Callable[[Tensor], Tensor]) -> None:
        """Take in what other processes added, by a function that sums a tensor over all of them."""
        self._bins, self._nll, self._brier = total(self._bins), total(self._nll), total(self._brier)

    def measures(self) -> dict[str, float]:
        """``ece``, ``nll`` (nats) and ``brier``, means over what was added; what is not finite is left out."""
        count, confident, right = self._bins.cpu().unbind(1)
        total = float(count.sum())
        if not total:
            return {}
        found = {
            "ece": float((confident - right).abs().sum()) / total,
            "nll": float(self._nll) / total,
            "brier": float(self._brier) / total,
        }
        return {name: value for name, value in found.items() if math.isfinite(value)}
