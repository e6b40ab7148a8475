"""WordNet through NLTK: the synset of each class, its words and glosses, and what stands above it."""

from __future__ import annotations

import difflib
import re
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

from noisyrun.api import UserError

#: Greatest depth of a noun in WordNet 3.0, in edges: what NLTK's Leacock-Chodorow similarity divides by.
NOUN_DEPTH = 19

_WNID = re.compile(r"n\d{8}\Z")
_SENSE = re.compile(r".+\.n\.\d{2,}\Z")
_MISSING = (
    "WordNet is not installed: run `python -m nltk.downloader wordnet`, or set NLTK_DATA to a folder that holds "
    "corpora/wordnet"
)


def reader() -> Any:
    """NLTK's WordNet reader.

    Raises
    ------
    UserError
        When its data cannot be found, with how to get it.
    """
    from nltk.corpus import wordnet

    try:
        wordnet.ensure_loaded()
        wordnet.synset_from_pos_and_offset("n", 1740)  # entity, the root: reads the nouns
    except (LookupError, OSError):
        raise UserError(_MISSING) from None
    except Exception as problem:  # NLTK's own errors for files that are cut short or of another version
        raise UserError(f"WordNet cannot be read ({problem}); {_MISSING}") from None
    return wordnet


@dataclass(frozen=True)
class Words:
    """What WordNet says of one class.

    Attributes
    ----------
    synset
        Name of the synset, e.g. ``manx.n.03``.
    lemmas
        Its words.
    gloss
        Its definition.
    above
        Definitions of the synsets right above it.
    """

    synset: str
    lemmas: tuple[str, ...]
    gloss: str
    above: tuple[str, ...]


def find(
    names: Sequence[str],
    wnids: Sequence[str] | None = None,
    senses: Mapping[str, str] | None = None,
    ambiguous: Literal["error", "first"] = "error",
) -> list[Words]:
    """The synset of each class: by `senses`, else by its wnid, else by its name's first noun sense.

    A name may list several words, comma-separated: the first that WordNet knows counts. It may also be a wnid or the
    name of a synset itself. WordNet orders senses by how often they were counted in text; where no count puts the first
    before the others, the order says nothing, and the name is ambiguous. So is a name that two classes share.

    Raises
    ------
    UserError
        One line that names the unknown and the ambiguous classes, with candidates.
    """
    wordnet = reader()
    senses = senses or {}
    stray = [name for name in senses if name not in set(names)]
    if stray:
        raise UserError(f"senses: {', '.join(map(repr, stray[:5]))} is no class of this data set")
    found: list[Any] = []
    problems: list[str] = []
    for c, name in enumerate(names):
        given = senses.get(name) or (wnids[c] if wnids is not None and wnids[c] else None)
        try:
            # A search for near names reads all of WordNet: worth it for the problems that will be shown first.
            near = len(problems) < 3
            synset = _by_id(wordnet, given, name) if given else _by_name(wordnet, name, ambiguous, near)
            found.append(synset)
        except UserError as problem:
            problems.append(str(problem))
    if not problems and wnids is None:
        problems = _shared(names, [synset.name() for synset in found])
    if problems:
        more = f"; and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise UserError(f"WordNet: {'; '.join(problems[:5])}{more}. Give wnids, or --side-info.sinet.senses")
    return [_words(synset) for synset in found]


def parents(node: str) -> tuple[str, ...]:
    """Names of the synsets right above a synset, given by name."""
    synset = reader().synset(node)
    return tuple(above.name() for above in synset.hypernyms() + synset.instance_hypernyms())


def _by_id(wordnet: Any, given: str, name: str) -> Any:
    if not _WNID.match(given) and not _SENSE.match(given):
        raise UserError(f"class {name!r}: {given!r} is neither a wnid (n02084071) nor a noun sense (crane.n.05)")
    synset = None
    with warnings.catch_warnings(), suppress(Exception):  # NLTK warns or raises any of four errors for a wrong offset
        warnings.simplefilter("ignore")
        wnid = _WNID.match(given)
        synset = wordnet.synset_from_pos_and_offset("n", int(given[1:])) if wnid else wordnet.synset(given)
    if synset is None:
        raise UserError(f"class {name!r}: no noun {given!r} in WordNet 3.0")
    return synset


def _by_name(wordnet: Any, name: str, ambiguous: Literal["error", "first"], near: bool) -> Any:
    words = [word.strip().replace(" ", "_") for word in name.split(",") if word.strip()]
    for word in words:
        if _WNID.match(word) or _SENSE.match(word):
            return _by_id(wordnet, word, name)
        options = wordnet.synsets(word, "n")
        if not options:
            continue
        if ambiguous == "error" and len(options) > 1:
            counts = [_count(synset, word) for synset in options]
            if counts[0] <= max(counts[1:]):
                raise UserError(f"{name!r} is ambiguous: {', '.join(map(_say, options[:6]))}")
        return options[0]
    found = difflib.get_close_matches(words[0].lower(), wordnet.all_lemma_names("n"), 3, 0.75) if near and words else []
    hint = f" (near: {', '.join(found)})" if found else ""
    raise UserError(f"no noun {name!r}{hint}")


def _count(synset: Any, word: str) -> int:
    lemma_names = {word.lower(), synset._wordnet_corpus_reader.morphy(word.lower(), "n")}
    return sum(lemma.count() for lemma in synset.lemmas() if lemma.name().lower() in lemma_names)


def _say(synset: Any) -> str:
    gloss = synset.definition()
    return f"{synset.name()} ({gloss if len(gloss) <= 40 else gloss[:37] + '...'})"


def _shared(names: Sequence[str], synsets: Sequence[str]) -> list[str]:
    first: dict[str, str] = {}
    problems = []
    for name, synset in zip(names, synsets):
        if synset in first:
            problems.append(f"classes {first[synset]!r} and {name!r} are both {synset}")
        first.setdefault(synset, name)
    return problems


def _words(synset: Any) -> Words:
    above = synset.hypernyms() + synset.instance_hypernyms()
    return Words(
        synset.name(),
        tuple(lemma.replace("_", " ") for lemma in synset.lemma_names()),
        synset.definition(),
        tuple(upper.definition() for upper in above),
    )
