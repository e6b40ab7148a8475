"""The class relation graph: which part asks for what, how the LSTM learns, and what survives a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch

from noisyrun.api import Labels, MethodError, SideInfo, Task, Text, TextEncoder, UserError, ops
from noisyrun.testing import make_phase
from noisyrun_sinet.config import SinetSideInfoConfig
from noisyrun_sinet.side_info import SinetSideInfo, class_texts

NAMES = ("cola", "tea", "chips")
TREE = {"drink": "product", "snack": "product", "cola": "drink", "tea": "drink", "chips": "snack"}
SAID = ("a sweet fizzy drink", "a hot drink of leaves", "thin fried slices of potato")
TEXT = Text(NAMES, descriptions=SAID, parents=TREE)


def make(relation: str, **settings: object) -> SinetSideInfo:
    method = SinetSideInfo(SinetSideInfoConfig.model_validate({"relation": relation, **settings}))
    method.key = "side_info.sinet"
    return method


def run(method: SinetSideInfo, text: Text, encoder: TextEncoder | None = None, seed: int = 0) -> SideInfo:
    phase = make_phase(seed, method.key)
    return method(Task(text.names), text, SideInfo(text_encoder=encoder), phase)


def similarity(side: SideInfo) -> torch.Tensor:
    assert side.class_similarity is not None
    return side.class_similarity.dense()


def test_a_tree_alone_needs_no_text_encoder() -> None:
    method = make("HW")
    assert not method.needs.text_encoder
    assert method.gives == {"class_similarity"}
    assert similarity(run(method, TEXT))[0].tolist() == pytest.approx([1, 1 / 3, 1 / 5])


def test_texts_need_a_text_encoder_and_say_so() -> None:
    method = make("CD+HW")
    assert method.needs.text_encoder
    assert method.gives == {"class_similarity", "class_embeddings"}
    with pytest.raises(UserError, match=r"--side-info text,sinet"):
        run(method, TEXT)


def test_names_are_the_cosine_of_their_mean_token_embeddings(encoder: TextEncoder) -> None:
    text = Text(("red drink", "green drink", "chair"))
    vectors = encoder.vectors(text.names)
    assert torch.allclose(similarity(run(make("CN"), text, encoder)), ops.cosine(vectors, vectors), atol=1e-6)


def test_the_hybrid_graph_is_the_sum_of_its_parts(encoder: TextEncoder) -> None:
    names, tree, both = (similarity(run(make(part), TEXT, encoder)) for part in ("CN", "HW", "CN+HW"))
    assert torch.allclose(both, names + tree, atol=1e-6)
    described, hybrid = (similarity(run(make(part, steps=5), TEXT, encoder)) for part in ("CD", "CD+HW"))
    assert torch.allclose(hybrid, described + tree, atol=1e-6)


def test_the_lstm_learns_to_tell_the_classes_apart(encoder: TextEncoder) -> None:
    said = (
        "sweet fizzy brown drink",
        "hot drink of green leaves",
        "thin fried potato slices",
        "thin crisp potato bits",
    )
    text = Text(("cola", "tea", "chips", "crisps"), descriptions=said)
    losses: dict[str, float] = {}
    for steps in (2, 200):
        method = make("CD", steps=steps, word_dropout=0.2)
        phase = make_phase(0, method.key, log=losses.__setitem__)
        method(Task(text.names), text, SideInfo(text_encoder=encoder), phase)
        losses[str(steps)] = losses.pop("label_embedding_loss")
    assert losses["200"] < 0.3 * losses["2"]


def test_the_text_encoder_stays_as_it_was(encoder: TextEncoder) -> None:
    before = encoder.tokens(["tea"])[0].clone()
    run(make("CD", steps=5), TEXT, encoder)
    assert torch.equal(encoder.tokens(["tea"])[0], before)


def test_one_seed_gives_one_embedding_and_leaves_global_random_numbers_alone(encoder: TextEncoder) -> None:
    torch.manual_seed(1)
    first = run(make("CD", steps=20), TEXT, encoder).class_embeddings
    state = torch.get_rng_state()
    torch.manual_seed(1)
    again = run(make("CD", steps=20), TEXT, encoder).class_embeddings
    other = run(make("CD", steps=20), TEXT, encoder, seed=1).class_embeddings
    assert first is not None
    assert again is not None
    assert other is not None
    assert torch.equal(first, again)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.allclose(first, other)


def test_a_small_memory_budget_changes_nothing(encoder: TextEncoder) -> None:
    made = []
    for memory in (1 << 30, 10):
        method = make("CD", steps=10)
        side = method(Task(NAMES), TEXT, SideInfo(text_encoder=encoder), make_phase(0, method.key, memory=memory))
        made.append(similarity(side))
    assert torch.equal(made[0], made[1])


def test_state_restores_the_lstm_without_training(encoder: TextEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    method = make("CD+HW", steps=20)
    first = similarity(run(method, TEXT, encoder))
    state = method.state_dict()
    restored = make("CD+HW", steps=20)
    restored.load_state_dict(state)
    monkeypatch.setattr("noisyrun_sinet.side_info.train", lambda *_, **__: pytest.fail("trained again"))
    assert torch.equal(similarity(run(restored, TEXT, encoder)), first)
    assert restored.state_dict().keys() == state.keys()


def test_state_is_tensors_and_json(encoder: TextEncoder) -> None:
    method = make("CD", steps=2)
    assert method.state_dict() == {}
    run(method, TEXT, encoder)
    for value in method.state_dict().values():
        assert isinstance(value, torch.Tensor | int | list)


def test_state_of_other_classes_is_refused(encoder: TextEncoder) -> None:
    method = make("CD", steps=2)
    run(method, TEXT, encoder)
    restored = make("CD")
    restored.load_state_dict(method.state_dict())
    with pytest.raises(UserError, match="other classes"):
        run(restored, Text(("a", "b"), descriptions=("x", "y")), encoder)
    with pytest.raises(MethodError, match="no LSTM under relation HW"):
        make("HW").load_state_dict(method.state_dict())


def test_state_of_another_text_encoder_is_refused(encoder: TextEncoder) -> None:
    method = make("CD", steps=2)
    run(method, TEXT, encoder)
    restored = make("CD")
    restored.load_state_dict(method.state_dict())
    encoder.dim = 17
    with pytest.raises(UserError, match="width 16"):
        run(restored, TEXT, encoder)


def test_a_class_without_words_is_embedded_all_the_same(encoder: TextEncoder) -> None:
    side = run(make("CN"), Text(("", "tea")), encoder)
    assert similarity(side)[0].tolist() == [0.0, 0.0]
    silent = run(make("CD", steps=2), Text((" ", "tea"), descriptions=("?", "leaves")), encoder)
    assert bool(torch.isfinite(similarity(silent)).all())


def test_a_tree_is_asked_for_where_there_is_none() -> None:
    with pytest.raises(UserError, match=r"--data\.tree"):
        run(make("HW", hierarchy="tree"), Text(NAMES))


@pytest.mark.parametrize("relation", ["HW", "CN", "CD"])
def test_classes_that_are_merely_counted_are_refused(relation: str, encoder: TextEncoder) -> None:
    with pytest.raises(UserError, match=r"--data\.classes"):
        run(make(relation), Text(("0", "1", "2")), encoder)


def test_digits_are_called_by_numbers_and_described(encoder: TextEncoder) -> None:
    text = Text(("0", "1"), descriptions=("a closed oval", "an upright stroke"))
    assert similarity(run(make("CD", steps=2), text, encoder)).shape == (2, 2)


def test_a_tree_may_name_classes_by_wnid() -> None:
    tree = {"n01": "n00", "n02": "n00"}
    text = Text(("one", "two"), wnids=("n01", "n02"), parents=tree)
    assert similarity(run(make("HW"), text))[0, 1].item() == pytest.approx(1 / 3)


def test_texts_of_samples_are_read_by_class() -> None:
    text = Text(
        ("cola", "tea"),
        descriptions=("fizzy", "hot"),
        titles=("a can", "", "a cup", "a pot"),
        tags=((), ("green", "leaf"), (), ()),
        labels=Labels.of(torch.tensor([0, 1, 1, 1])),
    )
    texts, classes = class_texts(text, None, samples=2)
    by_class = [[said for said, c in zip(texts, classes.tolist()) if c == k] for k in (0, 1)]
    assert by_class == [["cola: fizzy", "cola", "fizzy", "a can"], ["tea: hot", "tea", "hot", "green leaf", "a cup"]]
    assert class_texts(text, None, samples=0)[0] == ["cola: fizzy", "tea: hot", "cola", "fizzy", "tea", "hot"]


def test_wordnet_gives_the_texts_the_data_lacks(encoder: TextEncoder, wordnet_data: None) -> None:
    text = Text(("dog", "cat", "truck"), descriptions=("", "my cat", ""))
    side = run(make("CD+HW", steps=2), text, encoder)
    made = similarity(side)
    assert made[0, 1] - made[0, 2] > 0.05  # dog and cat are 4 edges apart, dog and truck many


def test_wordnet_puts_alike_classes_side_by_side(wordnet_data: None) -> None:
    names = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
    made = similarity(run(make("HW"), Text(names)))
    made.fill_diagonal_(0)
    near: Mapping[str, str] = {names[i]: names[int(row.argmax())] for i, row in enumerate(made)}
    assert near["automobile"] == "truck"
    assert near["cat"] == "dog"
