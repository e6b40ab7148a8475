"""Checks of single sockets: what an encoder says it gives, and what a backbone builds."""

from __future__ import annotations

import copy

import torch
from torch import nn

from noisyrun.testing.fixtures import SIDE, asked
from noisyrun.testing.subject import Subject
from noisyrun.testing.suite import conformance_check
from noisyrun.testing.trial import Trial, build_network, demand, difference, trial


@conformance_check(("side_info",))
def gives_what_it_says(plugin: Subject) -> None:
    """`gives` names the fields of SideInfo that are then there, and no others."""
    for everything in (frozenset[str](), frozenset({"text"})):
        with Trial(plugin, plugin.world(), everything=everything) as one:
            promised = one.method.gives
            demand(promised <= set(SIDE), f"gives: {sorted(promised - set(SIDE))} are no fields of SideInfo")
            before = one.world.side(asked(one.needs))
            made = one.method(one.task, one.text, before, one.phase)
            for name, parts in SIDE.items():
                there = getattr(made, parts[0]) is not None and getattr(made, parts[0]) is not getattr(before, parts[0])
                if name == "sample_embeddings" and not everything:
                    continue  # there where the data has texts of samples
                if name in promised:
                    demand(getattr(made, parts[0]) is not None, f"gives names {name}, which is not there")
                else:
                    demand(not there, f"{name} is there, but gives does not name it")


@conformance_check(("side_info",))
def has_a_row_for_every_sample(plugin: Subject) -> None:
    """Embeddings of samples have a row for each sample, float32 and finite."""
    with Trial(plugin, plugin.world(), everything=frozenset({"text"})) as one:
        made = one.method(one.task, one.text, one.world.side(asked(one.needs)), one.phase).sample_embeddings
        if made is None:
            return
        demand(made.shape[0] == len(one.world), f"sample_embeddings: {made.shape[0]} rows for {len(one.world)} samples")
        rows = made.take(torch.tensor([5, 0, 5]))
        demand(rows.shape == (3, made.shape[1]), f"sample_embeddings: rows of shape {list(rows.shape)}")
        demand(rows.dtype == torch.float32, f"sample_embeddings: rows are {rows.dtype}")
        demand(bool(torch.isfinite(rows).all()), "sample_embeddings are not finite")
        demand(torch.equal(rows[0], rows[2]), "sample_embeddings: one row, read twice, differs")


@conformance_check(("backbone",))
def features_have_the_width_it_says(plugin: Subject) -> None:
    """Features are [B, dim] and finite, `forward` is `features`, and the head makes logits [B, C] of them."""
    with Trial(plugin, plugin.world()) as one:
        network, head, inputs = build_network(one)
        network.eval()
        with torch.no_grad():
            features = network.features(inputs)
            logits = head.eval()(features)
            again = network(inputs)
        demand(
            features.shape == (len(inputs), network.dim), f"features are {list(features.shape)}, dim is {network.dim}"
        )
        demand(features.is_floating_point(), f"features are {features.dtype}")
        demand(bool(torch.isfinite(features).all()), "features are not finite")
        wanted = (len(inputs), one.task.num_classes)
        demand(logits.shape == wanted, f"logits are {list(logits.shape)}, must be {list(wanted)}")
        demand(torch.equal(features, again), "forward and features differ")


@conformance_check(("backbone",))
def gradient_reaches_every_weight(plugin: Subject) -> None:
    """A loss on the logits gives every parameter of network and head a gradient."""
    with Trial(plugin, plugin.world()) as one:
        network, head, inputs = build_network(one)
        with torch.random.fork_rng(devices=[]):
            head(network(inputs)).square().sum().backward()
        without = [name for name, value in nn.ModuleList([network, head]).named_parameters() if value.grad is None]
        demand(
            not without, f"no gradient reaches {', '.join(without[:3])}: several processes would wait for it for ever"
        )


@conformance_check(("backbone",))
def weights_load_into_another_network(plugin: Subject) -> None:
    """Weights of one network, loaded into one of another seed, give the same features."""
    world = plugin.world()
    with Trial(plugin, world, seed=0) as one, Trial(plugin, world, seed=1) as two:
        network, _, inputs = build_network(one)
        other, _, _ = build_network(two)
        other.load_state_dict(copy.deepcopy(network.state_dict()))
        with torch.no_grad():
            gap = difference(network.eval()(inputs), other.eval()(inputs))
        demand(
            float(gap.max()) < 1e-5, f"features differ by up to {float(gap.max()):.3g}: state stands outside state_dict"
        )


@conformance_check(("backbone",))
def another_seed_draws_other_weights(plugin: Subject) -> None:
    """Weights are drawn from torch's global generator, which the host seeds: another seed, other logits."""
    one, other = (trial(plugin, plugin.world(), seed=seed)["logits"] for seed in (0, 1))
    demand(float(difference(one, other).max()) > 0, "two seeds give the same logits")
