"""How each method looks: a colour and a shape that it keeps on the whole page."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from markupsafe import Markup

from noisyrun.bench.page import svg

#: Classes of colour in the style sheet, which has a value of each for light and for dark pages. They were chosen to
#: stay apart for the colour-blind; where two come close the shape tells. The first, grey, is plain cross entropy's.
COLOURS = 8

#: Ways around a centre at 0 0, of about the same area. Cross entropy has the cross.
SHAPES = (
    "M-4.5-4.5L4.5 4.5M-4.5 4.5L4.5-4.5",
    "M-4.6 0a4.6 4.6 0 1 0 9.2 0a4.6 4.6 0 1 0-9.2 0",
    "M-4.2-4.2h8.4v8.4h-8.4z",
    "M0-5.4L5.2 4H-5.2z",
    "M0-5.8L5.8 0L0 5.8L-5.8 0z",
    "M0 5.4L5.2-4H-5.2z",
    "M-1.8-5.2h3.6v3.4h3.4v3.6h-3.4v3.4h-3.6v-3.4h-3.4v-3.6h3.4z",
    "M0-5.4L5.1-1.7L3.2 4.4H-3.2L-5.1-1.7z",
    "M-5.2-2.6L0-5.4L5.2-2.6V2.6L0 5.4L-5.2 2.6z",
)

#: Dashes of lines by round of the colours.
DASHES = (None, "7 3", "2 3", "9 3 2 3")


@dataclass(frozen=True)
class Look:
    """How a method looks.

    Attributes
    ----------
    number
        Its number on the page.
    name
        The method.
    colour, shape
        Places in the colours of the style sheet and in `SHAPES`.
    """

    number: int
    name: str
    colour: int
    shape: int

    @property
    def classes(self) -> str:
        """Classes of everything that is drawn of it."""
        return f"m m{self.number} c{self.colour}"

    @property
    def dash(self) -> str | None:
        """Dashes of its lines."""
        return "2 3" if self.shape == 0 else DASHES[max(self.number - 1, 0) // (COLOURS - 1) % len(DASHES)]

    def marker(self, x: float, y: float) -> Markup:
        """Its shape at a place."""
        kind = "line" if self.shape == 0 else None
        return svg.element("path", d=SHAPES[self.shape], transform=f"translate({x:.1f} {y:.1f})", cls=kind)

    @property
    def swatch(self) -> Markup:
        """Its line and shape, for a legend."""
        line = svg.element("path", d="M0 8H34", stroke_dasharray=self.dash, cls="curve")
        return svg.element(
            "svg",
            svg.group([line, self.marker(17, 8)], cls=f"m c{self.colour}"),
            viewBox="0 0 34 16",
            width=34,
            height=16,
            aria_hidden="true",
        )


def looks(methods: Iterable[str], reference: str | None) -> dict[str, Look]:
    """A look for each method; grey with a cross for plain cross entropy."""
    made: dict[str, Look] = {}
    place = 0
    for number, name in enumerate(methods):
        if name == reference:
            made[name] = Look(number, name, 0, 0)
            continue
        made[name] = Look(number, name, 1 + place % (COLOURS - 1), 1 + place % (len(SHAPES) - 1))
        place += 1
    return made
