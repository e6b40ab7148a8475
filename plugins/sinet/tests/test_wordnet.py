"""Finding the synset of a class: by wnid, by name, by the sense the user gives; and what is said when that fails."""

from __future__ import annotations

import pytest

from noisyrun.api import UserError
from noisyrun_sinet import wordnet


def test_a_name_is_its_first_noun_sense(wordnet_data: None) -> None:
    found = wordnet.find(["dog", "Persian cat", "horse"])
    assert [one.synset for one in found] == ["dog.n.01", "persian_cat.n.01", "horse.n.01"]
    assert "Felis" in found[0].gloss or "Canis" in found[0].gloss
    assert "domestic dog" in found[0].lemmas


def test_a_wnid_goes_before_the_name(wordnet_data: None) -> None:
    assert wordnet.find(["crane"], ["n02012849"])[0].synset == "crane.n.05"


def test_a_name_of_several_words_takes_the_first_that_wordnet_knows(wordnet_data: None) -> None:
    assert wordnet.find(["no such thing at all, koala bear"])[0].synset == "koala.n.01"


def test_an_ambiguous_name_lists_its_senses(wordnet_data: None) -> None:
    with pytest.raises(UserError, match=r"'crane' is ambiguous: .*crane\.n\.05"):
        wordnet.find(["dog", "crane"])


def test_an_ambiguous_name_takes_its_first_sense_where_told_to(wordnet_data: None) -> None:
    assert wordnet.find(["crane"], ambiguous="first")[0].synset == "crane.n.01"


def test_the_user_may_give_the_sense(wordnet_data: None) -> None:
    assert wordnet.find(["crane"], senses={"crane": "crane.n.05"})[0].synset == "crane.n.05"
    assert wordnet.find(["crane"], ["n03126707"], {"crane": "n02012849"})[0].synset == "crane.n.05"


def test_an_unknown_name_lists_near_ones(wordnet_data: None) -> None:
    with pytest.raises(UserError, match=r"no noun 'koalla' \(near: koala"):
        wordnet.find(["koalla"])


def test_names_that_mean_the_same_are_refused(wordnet_data: None) -> None:
    with pytest.raises(UserError, match=r"'car' and 'automobile' are both car\.n\.01"):
        wordnet.find(["car", "automobile"])


def test_a_sense_of_no_class_is_refused(wordnet_data: None) -> None:
    with pytest.raises(UserError, match="'crain' is no class"):
        wordnet.find(["crane"], senses={"crain": "crane.n.05"})


@pytest.mark.parametrize("wnid", ["n99999999", "n02012850", "crane", "crane.n.77"])
def test_a_wrong_wnid_is_named(wnid: str, wordnet_data: None) -> None:
    with pytest.raises(UserError, match=wnid):
        wordnet.find(["crane"], [wnid])


def test_all_problems_stand_in_one_line(wordnet_data: None) -> None:
    with pytest.raises(UserError) as caught:
        wordnet.find([f"zzyzx{i}" for i in range(7)])
    assert "\n" not in str(caught.value)
    assert "and 2 more" in str(caught.value)


def test_missing_wordnet_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class Missing:
        def ensure_loaded(self) -> None:
            raise LookupError("a screen of text on where NLTK has looked")

    monkeypatch.setattr("nltk.corpus.wordnet", Missing())
    with pytest.raises(UserError) as caught:
        wordnet.find(["dog"])
    said = str(caught.value)
    assert "\n" not in said
    assert "nltk.downloader wordnet" in said
    assert "NLTK_DATA" in said
