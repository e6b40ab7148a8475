from __future__ import annotations

import pytest
import torch

from noisyrun.api import Phase, SideInfo, Task, Text, UserError
from noisyrun_text.config import TfidfConfig
from noisyrun_text.tfidf import TfidfSideInfo


def encode(text: Text, phase: Phase, **settings: object) -> SideInfo:
    task = Task(classes=text.names)
    return TfidfSideInfo(TfidfConfig(**settings))(task, text, SideInfo(), phase)


def test_nearest_class_shares_the_most_telling_words(text: Text, phase: Phase) -> None:
    side = encode(text, phase)
    assert side.class_similarity is not None
    likeness = side.class_similarity.dense().fill_diagonal_(-1)
    assert likeness[0].argmax() == 1
    assert likeness[1].argmax() == 0
    assert likeness[3].max() < likeness[0].max()


def test_latent_space_leaves_the_cosines_of_few_texts_as_they_are(text: Text, phase: Phase) -> None:
    whole = encode(text, phase, dim=None)
    latent = encode(text, phase, dim=8)
    assert whole.class_similarity is not None
    assert latent.class_similarity is not None
    assert latent.class_embeddings is not None
    assert latent.class_embeddings.shape[1] <= 8
    torch.testing.assert_close(latent.class_similarity.dense(), whole.class_similarity.dense(), atol=1e-4, rtol=0)


def test_many_texts_are_brought_to_the_width_asked_for(phase: Phase) -> None:
    names = tuple(f"thing{i} of kind{i % 7} and place{i % 11}" for i in range(40))
    side = encode(Text(names=names), phase, dim=5)
    assert side.class_embeddings is not None
    assert side.class_embeddings.shape == (40, 5)
    again = encode(Text(names=names), phase, dim=5)
    assert torch.equal(side.class_embeddings, again.class_embeddings)


def test_tokens_of_a_text_point_where_its_vector_points(text: Text, phase: Phase) -> None:
    side = encode(text, phase)
    assert side.class_embeddings is not None
    assert side.class_tokens is not None
    assert side.class_tokens_mask is not None
    means = (side.class_tokens * side.class_tokens_mask.unsqueeze(-1)).sum(1)
    close = torch.cosine_similarity(means, side.class_embeddings)
    assert close.min() > 0.99


def test_a_sample_lies_nearest_to_the_class_its_title_tells_of(text: Text, phase: Phase) -> None:
    side = encode(text, phase)
    assert side.class_embeddings is not None
    assert side.sample_embeddings is not None
    vectors = side.sample_embeddings.take(torch.tensor([0, 1, 3]))
    nearest = torch.cosine_similarity(vectors.unsqueeze(1), side.class_embeddings.unsqueeze(0), dim=2).argmax(1)
    assert nearest.tolist() == [0, 3, 2]
    assert not side.sample_embeddings.take(torch.tensor([2])).any()


def test_classes_called_by_single_digits_are_told_apart(phase: Phase) -> None:
    side = encode(Text(names=tuple("0123456789")), phase)
    assert side.class_similarity is not None
    torch.testing.assert_close(side.class_similarity.dense(), torch.eye(10), atol=1e-5, rtol=0)


def test_numerals_are_no_stop_words(phase: Phase) -> None:
    side = encode(Text(names=("one", "two", "three")), phase)
    assert side.class_embeddings is not None
    assert side.class_embeddings.any(1).all()


def test_unknown_words_give_a_zero_vector(text: Text, phase: Phase) -> None:
    side = encode(text, phase)
    assert side.text_encoder is not None
    made = side.text_encoder.vectors(["zebra", "cat"])
    tokens, mask = side.text_encoder.tokens(["zebra", "cat"])
    assert not made[0].any()
    assert made[1].any()
    assert mask.tolist() == [[False], [True]]
    assert tokens.shape[:2] == (2, 1)


def test_texts_without_words_are_refused_in_one_line(phase: Phase) -> None:
    with pytest.raises(UserError, match="hold no words") as caught:
        encode(Text(names=("--", "!!")), phase)
    assert "\n" not in str(caught.value)


def test_what_came_before_stays_where_this_encoder_gives_nothing(text: Text, phase: Phase) -> None:
    before = SideInfo(class_tokens=torch.ones(4, 1, 3), class_tokens_mask=torch.ones(4, 1, dtype=torch.bool))
    task = Task(classes=text.names)
    method = TfidfSideInfo(TfidfConfig(class_tokens=False))
    side = method(task, text, before, phase)
    assert "class_tokens" not in method.gives
    assert side.class_tokens is before.class_tokens
    assert side.class_embeddings is not None


def test_class_tokens_beyond_the_memory_budget_are_refused_with_the_way_out(text: Text) -> None:
    with pytest.raises(UserError, match="class_tokens false"):
        encode(text, Phase(memory=16))
