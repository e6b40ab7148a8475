"""Binary classifiers of right and wrong labels: fitted by scikit-learn, kept as tensors, read by torch.

A fitted estimator of scikit-learn can be kept by pickling alone, which is no way to keep what others may open. Each is
a handful of arrays, and what it says of a sample is a line or two of arithmetic.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from noisyrun.api import ops

#: Values each method's setting is chosen from. Odd numbers of neighbours never tie.
GRIDS: Mapping[str, tuple[float, ...]] = {
    "mlp": (1e-4, 1e-2, 1.0),
    "knn": (1, 3, 5, 9, 15, 25, 51),
    "svm": (0.1, 1.0, 10.0, 100.0),
    "label-propagation": (1.0, 3.0, 10.0, 30.0),
    "label-spreading": (1.0, 3.0, 10.0, 30.0),
}


@dataclass(frozen=True)
class Machine:
    """The classifier of one class.

    Attributes
    ----------
    kind
        What its tensors mean: ``neighbours``, ``margin``, ``graph`` or ``perceptron``.
    tensors
        Float tensors by name: of `Inputs`, and of the kind.
    """

    kind: str
    tensors: Mapping[str, Tensor]

    def scores(self, features: Tensor, memory: int = ops.BLOCK_BYTES) -> Tensor:
        """float32 [R]: above 0 where the label is right, for features [R, D]."""
        given = {name: tensor.to(features.device) for name, tensor in self.tensors.items()}
        x = inputs(features, given["centre"], given["scale"])
        read = _READ[self.kind]
        parts = [read(x[rows], given) for rows in ops.spans(len(x), 4 * len(given["rows"]), memory)]
        return torch.cat(parts) if parts else x.new_zeros(0)


def inputs(features: Tensor, centre: Tensor, scale: Tensor) -> Tensor:
    """Unit-length features about a centre [D], divided by one number [1]: float32 [R, D].

    One scale for all features keeps distances in proportion; it makes every method's settings mean the same whatever
    network the features come from.
    """
    return (ops.unit(features.float()) - centre) / scale


def input_space(features: Tensor) -> tuple[Tensor, Tensor]:
    """Centre [D] and scale [1] that give features [n, D] mean 0 and, over all dimensions together, variance 1."""
    units = ops.unit(features.double())
    centre = units.mean(0)
    scale = (units - centre).square().mean().sqrt().reshape(1)
    return centre.float(), torch.where(scale > 0, scale, 1.0).float()


@dataclass(frozen=True)
class Lesson:
    """What the classifier of one class learns from.

    Attributes
    ----------
    x
        float32 [n, D]: inputs of the verified samples.
    right
        bool [n]; both kinds occur.
    unverified
        float32 [m, D]: inputs of samples of the class that nobody verified.
    hidden
        Units of a perceptron.
    seed
        For methods that draw.
    """

    x: Tensor
    right: Tensor
    unverified: Tensor
    hidden: int
    seed: int


def fit(method: str, lesson: Lesson, values: tuple[float, ...]) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """The kind and the tensors of a classifier for each value of the method's setting."""
    for value in values:
        with warnings.catch_warnings():
            # That a budget of steps was used up is no fault: the held-out labels judge what came of it.
            warnings.simplefilter("ignore")
            yield _FIT[method](lesson, value)


def _fit_knn(lesson: Lesson, k: float) -> tuple[str, dict[str, Tensor]]:
    return "neighbours", {"rows": lesson.x, "values": lesson.right.float(), "k": torch.tensor([float(k)])}


def _fit_svm(lesson: Lesson, cost: float) -> tuple[str, dict[str, Tensor]]:
    from sklearn.svm import SVC

    # Tight, so that the order of the samples does not show.
    made = SVC(C=cost, gamma=1.0 / lesson.x.shape[1], tol=1e-6, random_state=lesson.seed).fit(
        lesson.x.numpy(), lesson.right.numpy()
    )
    return "margin", {
        "rows": _tensor(made.support_vectors_),
        "values": _tensor(made.dual_coef_[0]),
        "gamma": torch.tensor([1.0 / lesson.x.shape[1]]),
        "bias": _tensor(made.intercept_),
    }


def _fit_mlp(lesson: Lesson, decay: float) -> tuple[str, dict[str, Tensor]]:
    from sklearn.neural_network import MLPClassifier

    made = MLPClassifier((lesson.hidden,), alpha=decay, max_iter=100, random_state=lesson.seed)
    made.fit(lesson.x.numpy(), lesson.right.numpy())
    (first, second), (inner, outer) = made.coefs_, made.intercepts_
    return "perceptron", {
        "rows": _tensor(first.T),
        "inner": _tensor(inner),
        "values": _tensor(second[:, 0]),
        "bias": _tensor(outer),
    }


def _fit_graph(lesson: Lesson, width: float, spread: bool) -> tuple[str, dict[str, Tensor]]:
    from sklearn.semi_supervised import LabelPropagation, LabelSpreading

    x = torch.cat([lesson.x, lesson.unverified])
    said = torch.cat([lesson.right.long(), torch.full((len(lesson.unverified),), -1)])
    gamma = width / x.shape[1]
    made = LabelSpreading(gamma=gamma, max_iter=200) if spread else LabelPropagation(gamma=gamma, max_iter=200)
    made.fit(x.double().numpy(), said.numpy())
    return "graph", {"rows": x, "values": _tensor(made.label_distributions_), "gamma": torch.tensor([gamma])}


def _tensor(values: np.ndarray) -> Tensor:
    return torch.tensor(np.asarray(values), dtype=torch.float32)


_FIT: Mapping[str, Callable[[Lesson, float], tuple[str, dict[str, Tensor]]]] = {
    "mlp": _fit_mlp,
    "knn": _fit_knn,
    "svm": _fit_svm,
    "label-propagation": lambda lesson, width: _fit_graph(lesson, width, spread=False),
    "label-spreading": lambda lesson, width: _fit_graph(lesson, width, spread=True),
}


def _squares(x: Tensor, rows: Tensor) -> Tensor:
    """[R, n]: squared distances of x [R, D] to rows [n, D]."""
    lengths = x.square().sum(1, keepdim=True) + rows.square().sum(1)
    return torch.addmm(lengths, x, rows.T, alpha=-2.0).clamp_(min=0.0)


def _read_neighbours(x: Tensor, given: Mapping[str, Tensor]) -> Tensor:
    """The share of right labels among the k nearest, less one half."""
    k = min(int(given["k"]), len(given["rows"]))
    near = _squares(x, given["rows"]).topk(k, dim=1, largest=False).indices
    return given["values"][near].mean(1) - 0.5


def _read_margin(x: Tensor, given: Mapping[str, Tensor]) -> Tensor:
    """The signed margin of a support vector machine."""
    kernel = (-given["gamma"] * _squares(x, given["rows"])).exp()
    return kernel @ given["values"] + given["bias"]


def _read_graph(x: Tensor, given: Mapping[str, Tensor]) -> Tensor:
    """The probability of right among the labels of a graph's nodes, by their nearness, less one half."""
    far = given["gamma"] * _squares(x, given["rows"])
    # About the nearest node: far from all of them, every weight would round to 0.
    mass = (far.amin(1, keepdim=True) - far).exp() @ given["values"]
    return mass[:, 1] / mass.sum(1).clamp(min=1e-12) - 0.5


def _read_perceptron(x: Tensor, given: Mapping[str, Tensor]) -> Tensor:
    """The logit of one hidden layer of rectified units."""
    return (x @ given["rows"].T + given["inner"]).relu() @ given["values"] + given["bias"]


_READ: Mapping[str, Callable[[Tensor, Mapping[str, Tensor]], Tensor]] = {
    "neighbours": _read_neighbours,
    "margin": _read_margin,
    "graph": _read_graph,
    "perceptron": _read_perceptron,
}
