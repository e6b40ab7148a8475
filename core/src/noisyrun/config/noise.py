"""What ``--noise`` can say, and how it is read. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass

from noisyrun.api.errors import UserError

#: Kinds for data with one label a sample, and for data with several.
KINDS = ("symmetric", "asymmetric", "pair", "instance", "matrix")
FLIPS = ("flip-off", "flip-on", "flip")


@dataclass(frozen=True)
class NoiseSpec:
    """What ``--noise`` asks for.

    Attributes
    ----------
    kind
        One of `KINDS`, for single labels, or of `FLIPS`, for several.
    rate
        In [0, 1): of single labels flipped; of the labels switched off. 0 where a file brings the rates.
    on
        In [0, 1): of the absent labels switched on.
    """

    kind: str
    rate: float = 0.0
    on: float = 0.0

    @property
    def multi(self) -> bool:
        """Whether it is noise for data with several labels a sample."""
        return self.kind in FLIPS

    @property
    def from_file(self) -> bool:
        """Whether the rates stand in a file."""
        return self.rate == self.on == 0

    def __str__(self) -> str:
        if self.from_file:
            return self.kind
        rates = {"flip": f"{self.rate:g},{self.on:g}", "flip-on": f"{self.on:g}"}
        return f"{self.kind}:{rates.get(self.kind, f'{self.rate:g}')}"


def parse(text: str | None) -> NoiseSpec | None:
    """Read ``symmetric:0.4``, ``flip:0.3,0.02`` and the like; None for no noise.

    Raises
    ------
    UserError
        When the kind is unknown, or the rate missing, unwanted or outside (0, 1).
    """
    if text is None or text == "none":
        return None
    kind, _, rate = text.partition(":")
    if kind not in KINDS + FLIPS:
        raise UserError(f"--noise: unknown kind {kind!r}; known are {', '.join(KINDS + FLIPS)} and none")
    if kind == "matrix":
        if rate:
            raise UserError("--noise: matrix takes no rate; the rates stand in --data.noise-matrix")
        return NoiseSpec(kind)
    if kind == "flip":
        return NoiseSpec(kind, *_two_rates(rate, text)) if rate else NoiseSpec(kind)
    try:
        value = float(rate)
    except ValueError:
        raise UserError(f"--noise: {kind} needs a rate in (0, 1), as in {kind}:0.4 (got {text!r})") from None
    if not 0 < value < 1:
        raise UserError(f"--noise: the rate must be in (0, 1) (got {rate})")
    return NoiseSpec(kind, on=value) if kind == "flip-on" else NoiseSpec(kind, value)


def _two_rates(rates: str, text: str) -> tuple[float, float]:
    """Rates of labels switched off and on, each in [0, 1) and one above 0."""
    off, comma, on = rates.partition(",")
    try:
        pair = float(off), float(on)
    except ValueError:
        pair = -1.0, -1.0
    if not comma or not all(0 <= rate < 1 for rate in pair) or not any(pair):
        raise UserError(
            f"--noise: flip needs the rates of labels switched off and on, each in [0, 1), as in flip:0.3,0.02 "
            f"(got {text!r}); flip alone takes them by class from --data.noise-matrix"
        )
    return pair
