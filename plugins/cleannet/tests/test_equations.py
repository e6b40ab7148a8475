"""Each equation against a slow form in double precision, and against cases worked by hand."""

from __future__ import annotations

import math

import cleannet_reference as slow
import pytest
import torch

from noisyrun_cleannet import equations
from noisyrun_cleannet.config import CleanNetPrototypesConfig
from noisyrun_cleannet.encoders import CleanNet

LOSS = {"omega": 5.0, "rho": 0.1, "beta": 0.1, "gamma": 0.1}
SMALL = CleanNetPrototypesConfig(hidden=7, attended=5, attention=4, query_hidden=6, embedding=3)


def net(dim: int = 8, seed: int = 0) -> CleanNet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return CleanNet(dim, "raw", SMALL).double().eval()


def weights(made: CleanNet) -> dict[str, slow.Array]:
    return {name: value.detach().numpy() for name, value in made.state_dict().items()}


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# --- encoders -----------------------------------------------------------------------------------------------------


def test_class_embeddings_are_those_of_the_slow_form() -> None:
    made, references = net(), draw(3, 6, 8)
    found = made.reference(references, torch.ones(3, 6, dtype=torch.bool)).detach()
    for c in range(3):
        expected, _ = slow.reference_embedding(weights(made), references[c].numpy())
        assert found[c].tolist() == pytest.approx(expected.tolist(), abs=1e-12)


def test_query_embeddings_and_reconstructions_are_those_of_the_slow_form() -> None:
    made, queries = net(), draw(4, 8)
    embedded, rebuilt = (part.detach() for part in made.query(queries))
    for i in range(4):
        e, r = slow.query_embedding(weights(made), queries[i].numpy())
        assert embedded[i].tolist() == pytest.approx(e.tolist(), abs=1e-12)
        assert rebuilt[i].tolist() == pytest.approx(r.tolist(), abs=1e-12)


def test_the_order_of_references_does_not_matter_and_attention_follows_it() -> None:
    made, references, mask = net(), draw(2, 6, 8), torch.tensor([[True] * 6, [True] * 4 + [False] * 2])
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    assert torch.allclose(made.reference(references, mask), made.reference(references[:, order], mask[:, order]))
    alpha = made.reference.attend(references, mask)[1]
    assert torch.allclose(alpha[:, order], made.reference.attend(references[:, order], mask[:, order])[1])


def test_masked_references_count_for_nothing() -> None:
    made, references = net(), draw(1, 6, 8)
    mask = torch.tensor([[True] * 4 + [False] * 2])
    alone = made.reference(references[:, :4], torch.ones(1, 4, dtype=torch.bool))
    assert torch.allclose(made.reference(references, mask), alone)


def test_one_encoder_serves_every_class() -> None:
    made, references = net(), draw(3, 6, 8)
    mask = torch.ones(3, 6, dtype=torch.bool)
    order = torch.tensor([2, 0, 1])
    assert torch.allclose(made.reference(references, mask)[order], made.reference(references[order], mask))


def test_attention_worked_by_hand() -> None:
    # Scores 0 and ln 3 share out 1 : 3; a third, masked, gets nothing.
    hidden = torch.tensor([[0.0], [math.log(3)], [50.0]], dtype=torch.float64)
    found = equations.attention(hidden, torch.ones(1, dtype=torch.float64), torch.tensor([True, True, False]))
    assert found.tolist() == pytest.approx([0.25, 0.75, 0.0])
    pooled = equations.attended(found, torch.tensor([[4.0, 0.0], [0.0, 4.0], [9.0, 9.0]], dtype=torch.float64))
    assert pooled.tolist() == pytest.approx([1.0, 3.0])


def test_attention_looks_at_a_tanh_worked_by_hand() -> None:
    found = equations.attention_hidden(
        torch.tensor([[1.0, 2.0]]), torch.tensor([[2.0, -1.0], [0.0, 1.0]]), torch.tensor([0.0, -1.0])
    )
    assert found[0].tolist() == pytest.approx([0.0, math.tanh(1.0)])


# --- losses -------------------------------------------------------------------------------------------------------


def test_losses_are_those_of_the_slow_form() -> None:
    cosines = draw(60).tanh()
    relevance = torch.arange(60) % 3 - 1
    errors = draw(60, seed=1).abs()
    found = equations.total_loss(cosines, relevance, errors, **LOSS)
    expected = [slow.loss(*one, *LOSS.values()) for one in zip(cosines.tolist(), relevance.tolist(), errors.tolist())]
    assert found.tolist() == pytest.approx(expected, abs=1e-12)


def test_losses_worked_by_hand() -> None:
    cosines = torch.tensor([0.8, 0.8, 0.05, 0.8, 0.1, 0.05], dtype=torch.float64)
    relevance = torch.tensor([1, 0, 0, -1, -1, -1])
    matching = equations.matching_loss(cosines, relevance, omega=5.0, rho=0.1)
    assert matching.tolist() == pytest.approx([0.2, 3.5, 0.0, 0.0, 0.0, 0.0])
    assert equations.unsupervised_loss(cosines, 0.1).tolist() == pytest.approx([0.2, 0.2, 0.0, 0.2, 0.9, 0.0])
    total = equations.total_loss(cosines, relevance, torch.full((6,), 2.0, dtype=torch.float64), **LOSS)
    assert total.tolist() == pytest.approx([0.4, 3.7, 0.2, 0.22, 0.29, 0.2])


def test_reconstruction_error_is_summed_over_dimensions() -> None:
    found = equations.reconstruction_error(torch.tensor([[1.0, 2.0]]), torch.tensor([[0.0, 4.0]]))
    assert found.tolist() == [5.0]


def test_the_losses_have_the_gradient_that_differences_say() -> None:
    made, mask = net(), torch.ones(2, 4, dtype=torch.bool)
    references, queries, relevance = draw(2, 4, 8), draw(2, 8, seed=1), torch.tensor([1, -1])

    def loss(vectors: torch.Tensor) -> torch.Tensor:
        embedded, rebuilt = made.query(queries)
        cosines = torch.nn.functional.cosine_similarity(embedded, made.reference(vectors, mask), dim=1)
        errors = equations.reconstruction_error(queries, rebuilt)
        return equations.total_loss(cosines, relevance, errors, **LOSS).mean()

    assert torch.autograd.gradcheck(loss, (references.requires_grad_(),))


# --- inputs -------------------------------------------------------------------------------------------------------


def test_inputs_worked_by_hand() -> None:
    assert equations.log_input(torch.tensor([0.0, math.e - 1])).tolist() == pytest.approx([0.0, 1.0])
    assert equations.unit_input(torch.tensor([[-3.0, 4.0], [0.0, 0.0]])).flatten().tolist() == pytest.approx(
        [-0.6, 0.8, 0.0, 0.0]
    )


# --- weights and detection ----------------------------------------------------------------------------------------


def test_weights_worked_by_hand() -> None:
    cosines = torch.tensor([-0.3, 0.2, 0.5])
    assert equations.soft_weight(cosines).tolist() == pytest.approx([0.0, 0.2, 0.5])
    assert equations.hard_weight(cosines, 0.2).tolist() == [0.0, 1.0, 1.0]
    assert equations.relevant(cosines, 0.2).tolist() == [False, True, True]


def test_the_average_error_gives_every_class_the_same_say() -> None:
    # Class 0: one of four is misjudged; class 1: its only one is.
    wrong = torch.tensor([True, False, False, False, True])
    relevance = torch.tensor([1, 1, 1, 1, 1])
    classes = torch.tensor([0, 0, 0, 0, 1])
    assert equations.average_error(wrong, relevance, classes) == pytest.approx((0.25 + 1.0) / 2)


@pytest.mark.parametrize("seed", range(5))
def test_the_threshold_reaches_the_least_error_there_is(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    cosines = (torch.rand(40, generator=generator) * 10).round() / 10  # with ties
    relevance = torch.randint(0, 2, (40,), generator=generator)
    classes = torch.randint(0, 3, (40,), generator=generator)
    delta, error = equations.best_threshold(cosines, relevance, classes)
    assert error == pytest.approx(slow.least_error(cosines.tolist(), relevance.tolist(), classes.tolist()))
    assert equations.average_error(cosines < delta, relevance, classes) == pytest.approx(error)


def test_the_threshold_lies_midway_between_the_groups() -> None:
    delta, error = equations.best_threshold(
        torch.tensor([0.1, 0.2, 0.6, 0.8]), torch.tensor([0, 0, 1, 1]), torch.tensor([0, 0, 0, 1])
    )
    assert (delta, error) == (pytest.approx(0.4), 0.0)


def test_where_all_labels_are_right_or_all_wrong_the_threshold_says_so() -> None:
    cosines, classes = torch.tensor([0.1, 0.5, 0.5]), torch.zeros(3, dtype=torch.int64)
    all_right, error = equations.best_threshold(cosines, torch.ones(3), classes)
    assert (error, equations.relevant(cosines, all_right).all().item()) == (0.0, True)
    all_wrong, error = equations.best_threshold(cosines, torch.zeros(3), classes)
    assert (error, equations.relevant(cosines, all_wrong).any().item()) == (0.0, False)
