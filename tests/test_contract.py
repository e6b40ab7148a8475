"""Every hook and every method of a socket does what the contract says: one test for each, and none is left out.

The host's side is what is tested here: what it makes of a method that an author wrote, and of one that he left out.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import pluggy
import pytest
import torch
from torch import nn

from noisyrun.api import (
    Backbone,
    Batch,
    FeatureExtractor,
    Judgement,
    LabelCorrector,
    LabelPhaseResult,
    Labels,
    Lifecycle,
    Method,
    MethodError,
    Needs,
    OnlinePart,
    Plugin,
    PluginConfig,
    PrototypeBuilder,
    Prototypes,
    Recipe,
    RunInfo,
    RunResult,
    SampleWeighter,
    SideInfo,
    SideInfoEncoder,
    Targets,
    Task,
    Text,
    TextEncoder,
    hookimpl,
)
from noisyrun.api.hooks import EpochResult
from noisyrun.api.plugin import DiscoverySpec
from noisyrun.testing import make_bank, make_phase
from noisyrun.tracking.manager import Observers

F = TypeVar("F", bound=Callable[..., None])
TESTED: dict[str, str] = {}

TASK = Task(("a", "b"), image_size=(4, 4), channels=1)
SIDE, PHASE, CONFIG = SideInfo(), make_phase(), PluginConfig()
BANK = make_bank(torch.tensor([[1.0, 0], [1, 0], [0, 1], [0, 1]]), [0, 0, 1, 0], 2)


def of(owner: type[Any], name: str) -> Callable[[F], F]:
    """Marks the test of a method."""

    def take(test: F) -> F:
        assert name in vars(owner)
        assert f"{owner.__name__}.{name}" not in TESTED
        TESTED[f"{owner.__name__}.{name}"] = test.__name__
        return test

    return take


# --- hooks ---------------------------------------------------------------------------------------------------------


def answers(hook: str, record: object) -> list[object]:
    """What a module that yields one record from a discovery hook is heard to say."""
    module = ModuleType("some_plugin")
    setattr(module, hook, hookimpl(lambda: [record]))
    manager = pluggy.PluginManager("noisyrun")
    manager.add_hookspecs(DiscoverySpec)
    manager.register(module)
    manager.check_pending()
    return [one for answer in getattr(manager.hook, hook)() for one in answer]


@of(DiscoverySpec, "noisyrun_plugins")
def test_plugins_are_what_the_hook_yields() -> None:
    record = Plugin("weighter", "ones", "1.0", "Weighs every label 1.", "ones.method:Ones", "ones.config:OnesConfig")
    assert answers("noisyrun_plugins", record) == [record]


@of(DiscoverySpec, "noisyrun_recipes")
def test_recipes_are_what_the_hook_yields() -> None:
    record = Recipe("ones", "Plain training.", "ones", "recipes/ones.toml")
    assert answers("noisyrun_recipes", record) == [record]


def heard(hook: str, argument: str, tell: Callable[[Observers], None]) -> Any:
    """What an observer that implements one hook is given in one of its arguments."""
    told: list[Any] = []
    functions: dict[str, Callable[..., None]] = {
        "run": lambda run: told.append(run),
        "result": lambda result: told.append(result),
        "path": lambda path, epoch: told.append((path, epoch)),
    }
    observer = ModuleType("observer")
    setattr(observer, hook, hookimpl(functions[argument]))
    tell(Observers({"observer": observer}, pytest.fail))
    assert len(told) == 1
    return told[0]


@of(Lifecycle, "noisyrun_run_start")
def test_an_observer_is_told_of_the_start() -> None:
    run = RunInfo("a", Path("runs/a"), {}, {}, {}, {}, resumed=True)
    assert heard("noisyrun_run_start", "run", lambda observers: observers.run_start(run)) is run


@of(Lifecycle, "noisyrun_label_phase_end")
def test_an_observer_is_told_of_a_label_phase() -> None:
    result = LabelPhaseResult("rounds", 0, 3, {"auroc": 0.9})
    assert heard("noisyrun_label_phase_end", "result", lambda observers: observers.label_phase_end(result)) is result


@of(Lifecycle, "noisyrun_epoch_end")
def test_an_observer_is_told_of_an_epoch() -> None:
    result = EpochResult("rounds", 4, 40, {"loss": 0.5})
    assert heard("noisyrun_epoch_end", "result", lambda observers: observers.epoch_end(result)) is result


@of(Lifecycle, "noisyrun_checkpoint")
def test_an_observer_is_told_of_a_checkpoint() -> None:
    path = Path("runs/a/checkpoint.safetensors")
    assert heard("noisyrun_checkpoint", "path", lambda observers: observers.checkpoint(path, 4)) == (path, 4)


@of(Lifecycle, "noisyrun_run_end")
def test_an_observer_is_told_of_the_end() -> None:
    result = RunResult("interrupted")
    assert heard("noisyrun_run_end", "result", lambda observers: observers.run_end(result)) is result


# --- every method --------------------------------------------------------------------------------------------------


@of(Method, "needs")
def test_a_method_needs_nothing_unless_it_says_so() -> None:
    assert Method(CONFIG).needs == Needs()


@of(Method, "preflight")
def test_a_preflight_that_nobody_wrote_finds_nothing_missing() -> None:
    before = dict(vars(method := Method(CONFIG)))
    method.preflight()
    assert vars(method) == before


@of(Method, "state_dict")
def test_a_method_that_learned_nothing_has_no_state() -> None:
    assert Method(CONFIG).state_dict() == {}


@of(Method, "load_state_dict")
def test_state_that_nobody_takes_is_an_error_and_none_is_not() -> None:
    method = Method(CONFIG)
    method.key = "weighter.mine"
    method.load_state_dict({})
    with pytest.raises(MethodError, match=r"weighter\.mine: has no state to restore, but a checkpoint holds \['a'\]"):
        method.load_state_dict({"a": 1})


# --- weighter ------------------------------------------------------------------------------------------------------


class Weighter(SampleWeighter[PluginConfig]):
    """Gives what it is told to give."""

    def __init__(self, made: Any, needs: Needs | None = None) -> None:
        super().__init__(CONFIG)
        self.made, self.wanted = made, needs or Needs()

    @property
    def needs(self) -> Needs:
        return self.wanted

    def weigh(self, block: Any, labels: Any, prototypes: Any, side: Any) -> Any:
        return self.made


def judged(method: SampleWeighter[Any], prototypes: Prototypes | None = None) -> Judgement:
    (block,) = BANK.blocks()
    return method(block, BANK.labels.single, prototypes, SIDE)


@of(SampleWeighter, "__call__")
def test_weights_are_held_against_the_contract_and_a_class_without_prototypes_weighs_1() -> None:
    with pytest.raises(MethodError, match="weights must be at least 0"):
        judged(Weighter(torch.tensor([1.0, -1, 1, 1])))
    only_first = Prototypes.of(torch.eye(2), torch.tensor([True, False]))
    made = Judgement(torch.zeros(4), None, torch.ones(4, dtype=torch.bool))
    found = judged(Weighter(made, Needs(prototypes=True)), only_first)
    assert found.weights.tolist() == [0, 0, 1, 0]
    assert found.wrong is not None
    assert found.wrong.tolist() == [True, True, False, True]


@of(SampleWeighter, "fit")
def test_a_weighter_that_learns_nothing_need_not_define_fit() -> None:
    method = Weighter(torch.ones(4))
    method.fit(BANK, None, SIDE, PHASE)
    assert method.state_dict() == {}


@of(SampleWeighter, "weigh")
def test_bare_weights_are_their_own_score() -> None:
    found = judged(Weighter(torch.tensor([0.5, 1, 0, 2])))
    assert found.score is not None
    assert found.score.tolist() == found.weights.tolist() == [0.5, 1, 0, 2]
    assert found.wrong is None


# --- corrector -----------------------------------------------------------------------------------------------------


class Corrector(LabelCorrector[PluginConfig]):
    """Gives what it is told to give."""

    def __init__(self, made: Targets, needs: Needs | None = None) -> None:
        super().__init__(CONFIG)
        self.made, self.wanted = made, needs or Needs()

    @property
    def needs(self) -> Needs:
        return self.wanted

    def correct(self, block: Any, targets: Any, prototypes: Any, side: Any) -> Targets:
        return self.made


def corrected(method: LabelCorrector[Any], prototypes: Prototypes | None = None) -> Targets:
    (block,) = BANK.blocks()
    return method(block, Targets.of(BANK.labels), prototypes, SIDE)


@of(LabelCorrector, "__call__")
def test_targets_are_held_against_the_contract_and_a_class_without_prototypes_keeps_its_label() -> None:
    with pytest.raises(MethodError, match=r"targets\.classes must be at most 1"):
        corrected(Corrector(Targets.hard(torch.full((4,), 7), 1.0)))
    only_second = Prototypes.of(torch.eye(2), torch.tensor([False, True]))
    found = corrected(Corrector(Targets.hard(1 - BANK.labels.single, 1.0), Needs(prototypes=True)), only_second)
    assert found.top.tolist() == [0, 0, 0, 0]
    assert found.alpha.tolist() == [0, 0, 1, 0]


@of(LabelCorrector, "fit")
def test_a_corrector_that_learns_nothing_need_not_define_fit() -> None:
    method = LabelCorrector(CONFIG)
    method.fit(BANK, None, SIDE, PHASE)
    assert method.state_dict() == {}


@of(LabelCorrector, "correct")
def test_a_corrector_that_corrects_nothing_hands_on_what_came_before() -> None:
    found = corrected(LabelCorrector(CONFIG))
    assert found.top.tolist() == [0, 0, 1, 0]
    assert found.alpha.tolist() == [0, 0, 0, 0]


# --- prototypes ----------------------------------------------------------------------------------------------------


class ByClass(PrototypeBuilder[PluginConfig]):
    """The first sample of a class."""

    def build_class(self, c: int, bank: Any, rows: Any, side: Any, phase: Any) -> Prototypes:
        return Prototypes.of(bank.take(rows[:1]).features.unsqueeze(0), rows=rows[:1].unsqueeze(0))


class Whole(PrototypeBuilder[PluginConfig]):
    """Of all classes at once."""

    def build(self, bank: Any, side: Any, phase: Any) -> Prototypes:
        return Prototypes.of(2 * torch.eye(2))


@of(PrototypeBuilder, "__call__")
def test_a_builder_is_called_for_the_prototypes_of_all_classes() -> None:
    found = ByClass(CONFIG)(BANK, SIDE, PHASE)
    assert found.vectors[:, 0].tolist() == [[1, 0], [0, 1]]
    assert found.rows is not None
    assert found.rows.tolist() == [[0], [2]]


@of(PrototypeBuilder, "by_class")
def test_a_builder_of_single_classes_can_be_shared_out_and_one_of_all_cannot() -> None:
    assert ByClass(CONFIG).by_class
    assert not Whole(CONFIG).by_class


@of(PrototypeBuilder, "build")
def test_a_builder_may_build_all_classes_at_once() -> None:
    assert Whole(CONFIG)(BANK, SIDE, PHASE).vectors[:, 0].tolist() == [[2, 0], [0, 2]]


@of(PrototypeBuilder, "build_classes")
def test_some_classes_are_built_in_the_order_asked_for_and_one_without_samples_is_masked() -> None:
    bank = make_bank(torch.eye(2), [0, 2], 3)
    found = ByClass(CONFIG).build_classes([2, 1], bank, SIDE, PHASE)
    assert [one.mask.tolist() for one in found] == [[[True]], [[False]]]
    assert found[0].vectors.tolist() == [[[0, 1]]]


@of(PrototypeBuilder, "build_class")
def test_a_class_is_built_from_its_own_rows_and_not_at_all_without_any() -> None:
    given: list[tuple[int, list[int]]] = []

    class Records(ByClass):
        def build_class(self, c: int, bank: Any, rows: Any, side: Any, phase: Any) -> Prototypes:
            given.append((c, rows.tolist()))
            return super().build_class(c, bank, rows, side, phase)

    Records(CONFIG)(make_bank(torch.eye(3), [2, 0, 0], 3), SIDE, PHASE)
    assert given == [(0, [1, 2]), (2, [0])]


@of(PrototypeBuilder, "projection")
def test_a_builder_without_a_space_of_its_own_gives_no_module_back() -> None:
    assert ByClass(CONFIG).projection() is None


@of(PrototypeBuilder, "checked")
def test_prototypes_of_another_width_are_refused() -> None:
    with pytest.raises(MethodError, match=r"prototypes\.vectors must have shape \[2, any, 2\]"):
        ByClass(CONFIG).checked(Prototypes.of(torch.eye(3)[:2]), BANK)


# --- side information ----------------------------------------------------------------------------------------------


class Encoder(SideInfoEncoder[PluginConfig]):
    """Gives class embeddings of some shape."""

    gives = frozenset({"class_embeddings"})
    rows = 2

    def encode(self, task: Task, text: Text, before: SideInfo, phase: Any) -> SideInfo:
        return SideInfo(class_embeddings=torch.ones(self.rows, 3))


@of(SideInfoEncoder, "__call__")
def test_what_an_encoder_gives_is_held_against_the_contract() -> None:
    method = Encoder(CONFIG)
    method.rows = 5
    with pytest.raises(MethodError, match=r"class_embeddings must have shape \[2, any\]"):
        method(TASK, Text(TASK.classes), SIDE, PHASE)


@of(SideInfoEncoder, "preflight_text")
def test_a_preflight_of_words_that_nobody_wrote_finds_nothing_missing() -> None:
    before = dict(vars(method := Encoder(CONFIG)))
    method.preflight_text(Text(TASK.classes))
    assert vars(method) == before


@of(SideInfoEncoder, "encode")
def test_what_an_encoder_gives_lies_over_what_came_before() -> None:
    before = SideInfo(class_embeddings=torch.zeros(2, 3), class_tokens_mask=torch.ones(2, 1, dtype=torch.bool))
    found = Encoder(CONFIG)(TASK, Text(TASK.classes), before, PHASE)
    assert found.class_embeddings is not None
    assert found.class_embeddings.tolist() == [[1, 1, 1], [1, 1, 1]]
    assert found.class_tokens_mask is before.class_tokens_mask


class Lengths(TextEncoder):
    """The length of each word."""

    dim = 1

    def tokens(self, texts: Any) -> tuple[torch.Tensor, torch.Tensor]:
        words = [text.split() for text in texts]
        width = max(map(len, words))
        found = torch.tensor([[float(len(w)) for w in some] + [0.0] * (width - len(some)) for some in words])
        return found.unsqueeze(2), found > 0


@of(TextEncoder, "tokens")
def test_an_encoder_of_texts_has_to_say_how_tokens_are_made() -> None:
    class Unfinished(TextEncoder):
        dim = 1

    with pytest.raises(TypeError, match="tokens"):
        Unfinished()  # type: ignore[abstract]


@of(TextEncoder, "vectors")
def test_a_text_is_the_mean_of_its_tokens_and_0_without_any() -> None:
    assert Lengths().vectors(["a big cat", "tree", ""]).tolist() == [[pytest.approx(7 / 3)], [4], [0]]


# --- backbone ------------------------------------------------------------------------------------------------------


class Pixels(FeatureExtractor):
    """The pixels themselves."""

    dim = 16

    def features(self, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1)


class Builder(Backbone[PluginConfig]):
    """Gives what it is told to give."""

    made: Any = None

    def build(self, task: Task) -> Any:
        return self.made


@of(Backbone, "__call__")
def test_a_network_that_does_not_say_its_width_is_refused() -> None:
    method = Builder(CONFIG)
    method.made = FeatureExtractor()
    with pytest.raises(MethodError, match="must say its feature width"):
        method(TASK)


@of(Backbone, "build")
def test_what_is_no_network_is_refused() -> None:
    method = Builder(CONFIG)
    method.made = nn.Linear(1, 1)
    with pytest.raises(MethodError, match=r"must return a FeatureExtractor \(got Linear\)"):
        method(TASK)


@of(Backbone, "blank")
def test_a_network_that_starts_from_nothing_is_rebuilt_as_it_was_built() -> None:
    method = Builder(CONFIG)
    assert method.blank() is method.config


@of(FeatureExtractor, "features")
def test_a_network_has_to_say_how_features_are_made() -> None:
    with pytest.raises(NotImplementedError):
        FeatureExtractor().features(torch.zeros(1, 1, 4, 4))


@of(FeatureExtractor, "forward")
def test_calling_a_network_gives_its_features() -> None:
    images = torch.rand(3, 1, 4, 4)
    assert torch.equal(Pixels()(images), images.flatten(1))


@of(FeatureExtractor, "make_head")
def test_a_head_is_one_linear_layer_unless_a_network_brings_its_own() -> None:
    head = Pixels().make_head(16, 2)
    assert isinstance(head, nn.Linear)
    assert (head.in_features, head.out_features) == (16, 2)


# --- parts trained in the loop -------------------------------------------------------------------------------------


@of(OnlinePart, "part")
def test_no_part_is_built_where_none_is_asked_for() -> None:
    assert OnlinePart().part(16, TASK) is None


@of(OnlinePart, "loss")
def test_a_part_without_a_loss_adds_nothing() -> None:
    labels = Labels.of(torch.tensor([0, 1]))
    both = torch.ones(2, dtype=torch.bool)
    batch = Batch(torch.arange(2), labels, Targets.of(labels), torch.ones(2, 1), ~both, labels, both)
    assert OnlinePart().loss(nn.Identity(), batch, torch.zeros(2, 3), torch.zeros(2, 2)) == {}


@of(OnlinePart, "predict")
def test_the_head_alone_predicts_unless_a_part_says_otherwise() -> None:
    assert OnlinePart().predict(nn.Identity(), torch.zeros(2, 3)) is None


# --- none is left out ----------------------------------------------------------------------------------------------


def test_every_hook_and_every_method_of_a_socket_has_a_test_of_its_own(script) -> None:
    contract = script("contract")
    members = {f"{cls.__name__}.{name}" for cls in contract.CLASSES for name, _, _ in contract.members(cls)}
    assert set(TESTED) == members
    assert len(set(TESTED.values())) == len(members)
