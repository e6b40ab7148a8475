"""Pictures of what methods want looked at: rows of training images, a number below each."""

from __future__ import annotations

from pathlib import Path

from noisyrun.api.labels import PAD
from noisyrun.api.phase import Exhibit
from noisyrun.data.samples import Samples
from noisyrun.files import atomic
from noisyrun.report.pictures import FRAME, SIDE, picture, short

#: Groups drawn at most, and images of a group: a picture, not an atlas.
GROUPS, ACROSS = 30, 12
#: Pixels left of a group's images, for its title, and below an image, for its number.
MARGIN, BELOW = 120, 18


def write_exhibit(samples: Samples, shown: Exhibit, path: Path) -> bool:
    """Write one exhibit as a PNG; False for data without images, or an exhibit without any.

    Parameters
    ----------
    samples
        The training samples, whose positions are the exhibit's rows.
    """
    from PIL import Image, ImageDraw

    rows, values = shown.rows[:GROUPS, :ACROSS], shown.values[:GROUPS, :ACROSS]
    if samples.images is None or rows.numel() == 0 or bool((rows == PAD).all()):
        return False
    cell, tall = SIDE + 2 * FRAME, SIDE + 2 * FRAME + BELOW
    size = MARGIN + rows.shape[1] * cell, BELOW + len(rows) * tall
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    draw.text((FRAME, FRAME), shown.caption.encode("latin-1", "replace").decode("latin-1"), fill="black")
    for group, (title, members) in enumerate(zip(shown.titles, rows)):
        y = BELOW + group * tall
        draw.text((FRAME, y + SIDE // 2), short(title), fill="black")
        slots = (members != PAD).nonzero()[:, 0]
        for slot, pixels in zip(slots.tolist(), samples.images.load(members[slots])):
            x = MARGIN + slot * cell
            sheet.paste(picture(pixels), (x + FRAME, y + FRAME))
            draw.text((x + FRAME, y + cell), f"{float(values[group, slot]):.3g}", fill="black")
    with atomic(path) as temporary:
        sheet.save(temporary, format="PNG")
    return True
