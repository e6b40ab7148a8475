"""Learning rates along schedules, and optimisers by name."""

import math

import pytest
import torch

from noisyrun.api.stage import Optimizer, Schedule
from noisyrun.engine.optim import make_optimizer, rate_factor


def factors(schedule, total):
    return [rate_factor(schedule, position, total) for position in range(total)]


def test_cosine_starts_high_and_ends_at_its_final_share():
    made = factors(Schedule(name="cosine", final=0.1), 10)
    assert made[0] == 1.0
    assert made[5] == pytest.approx(0.1 + 0.9 * 0.5)
    assert rate_factor(Schedule(name="cosine", final=0.1), 10, 10) == pytest.approx(0.1)
    assert made == sorted(made, reverse=True)


def test_step_multiplies_at_each_milestone():
    schedule = Schedule(name="step", milestones=(2, 4), gamma=0.1)
    assert factors(schedule, 6) == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])


def test_exponential_multiplies_every_so_many_units():
    assert factors(Schedule(name="exponential", every=2, gamma=0.5), 5) == pytest.approx([1, 1, 0.5, 0.5, 0.25])


def test_warm_up_is_linear_and_then_the_schedule_has_the_rest():
    schedule = Schedule(name="cosine", warmup=4)
    made = factors(schedule, 8)
    assert made[:4] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert made[4] == 1.0
    assert made[6] == pytest.approx(0.5 * (1 + math.cos(math.pi / 2)))


def test_constant_stays():
    assert set(factors(Schedule(name="constant"), 5)) == {1.0}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("sgd", torch.optim.SGD),
        ("adam", torch.optim.Adam),
        ("adamw", torch.optim.AdamW),
        ("rmsprop", torch.optim.RMSprop),
    ],
)
def test_each_optimiser_takes_the_settings_and_lowers_a_loss(name, kind):
    weight = torch.nn.Parameter(torch.tensor([2.0]))
    frozen = torch.nn.Parameter(torch.tensor([2.0]), requires_grad=False)
    optimizer = make_optimizer([weight, frozen], Optimizer(name=name, lr=0.01, weight_decay=0.1))
    assert type(optimizer) is kind
    assert optimizer.param_groups[0]["params"] == [weight]
    assert optimizer.param_groups[0]["weight_decay"] == 0.1
    for _ in range(5):
        optimizer.zero_grad()
        (weight**2).sum().backward()
        optimizer.step()
    assert float(weight) < 2.0


def test_a_step_schedule_without_milestones_is_refused():
    with pytest.raises(ValueError, match="needs milestones"):
        Schedule(name="step")
