"""What differs from socket to socket in a new package: a small method that works, to be replaced by one's own."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Socket:
    """The parts of a package that depend on the socket.

    Attributes
    ----------
    summary
        One line on what the method does.
    example
        Further flags for a run that shows it at work.
    fields
        Body of the configuration.
    imports, base, body
        Of the method's module: imports, base class, body of the class.
    uses, helpers
        Names that the test imports from `noisyrun.api` and `noisyrun.testing`.
    test
        A test of what the method is for.
    """

    summary: str
    example: str
    fields: str
    imports: str
    base: str
    body: str
    uses: str
    helpers: str
    test: str


SOCKETS = {
    "weighter": Socket(
        summary="A label counts as much as the classifier believes in it.",
        example="--epochs 6",
        fields='    floor: float = Field(0.1, ge=0, le=1, description="Least weight of a label.")',
        imports="from torch import Tensor\n\nfrom noisyrun.api import Block, Prototypes, SampleWeighter, SideInfo",
        base="SampleWeighter",
        body='''\
    def weigh(self, block: Block, labels: Tensor, prototypes: Prototypes | None, side: SideInfo) -> Tensor:
        """Weights [R] of the pairs (row r of the block, labels[r])."""
        said = block.top_classes == labels.unsqueeze(1)
        return (said * block.top_probs).sum(1).clamp(min=self.config.floor)''',
        uses="from noisyrun.api import SideInfo\n",
        helpers="make_bank, ",
        test='''
def test_a_label_the_classifier_does_not_believe_in_counts_less():
    """Two clusters; the last sample of the second one carries the label of the first."""
    bank = make_bank(torch.tensor([[1.0, 0], [1, 0], [0, 1], [0, 1]]), [0, 0, 1, 0], 2)
    weighter = @class@(@class@Config())
    (block,) = bank.blocks()
    weights = weighter(block, bank.labels.single, None, SideInfo()).weights
    assert weights[3] < weights[:3].min()''',
    ),
    "corrector": Socket(
        summary="A label becomes the classifier's first guess where that is sure.",
        example="--epochs 6",
        fields="""\
    threshold: float = Field(0.9, ge=0, le=1, description="Least probability of the guess that takes a label's place.")
    alpha: float = Field(0.5, gt=0, le=1, description="Share of the corrected label in the loss.")""",
        imports="from noisyrun.api import Block, LabelCorrector, Needs, Prototypes, SideInfo, Targets",
        base="LabelCorrector",
        body='''\
    @property
    def needs(self) -> Needs:
        """One label a sample."""
        return Needs(labels=frozenset({"single"}))

    def correct(self, block: Block, targets: Targets, prototypes: Prototypes | None, side: SideInfo) -> Targets:
        """The first guess where it is sure, else what came before."""
        guess, sure = block.top_classes[:, 0], block.top_probs[:, 0]
        return Targets.hard(guess, self.config.alpha, sure).where(sure >= self.config.threshold, targets)''',
        uses="from noisyrun.api import SideInfo, Targets\n",
        helpers="make_bank, ",
        test='''
def test_a_label_gives_way_to_a_sure_guess():
    """Two clusters; the last sample of the second one carries the label of the first."""
    logits = torch.tensor([[9.0, 0], [9, 0], [0, 9], [0, 9]])
    bank = make_bank(torch.eye(4), [0, 0, 1, 0], 2, logits=logits)
    corrector = @class@(@class@Config())
    (block,) = bank.blocks()
    targets = corrector(block, Targets.of(block.labels), None, SideInfo())
    assert targets.top.tolist() == [0, 0, 1, 1]''',
    ),
    "prototypes": Socket(
        summary="The mean of a class's features stands for it.",
        example="--weighter sinet --epochs 6",
        fields="""\
    unit: bool = Field(True, description="Bring features to unit length before the mean.")""",
        imports=(
            "import torch\nfrom torch import Tensor\n\n"
            "from noisyrun.api import FeatureBank, Phase, PrototypeBuilder, Prototypes, SideInfo, ops"
        ),
        base="PrototypeBuilder",
        body='''\
    def build_class(self, c: int, bank: FeatureBank, rows: Tensor, side: SideInfo, phase: Phase) -> Prototypes:
        """The prototype [1, 1, D] of one class, from its rows."""
        total = torch.zeros(1, bank.dim, device=bank.device)
        for block in bank.blocks(rows):  # a class may be larger than memory
            features = ops.unit(block.features) if self.config.unit else block.features
            total += features.sum(0)
        return Prototypes.of(total / len(rows))''',
        uses="from noisyrun.api import SideInfo\n",
        helpers="make_bank, make_phase, ",
        test="""
def test_the_prototype_of_a_class_is_the_mean_of_its_features():
    bank = make_bank(torch.tensor([[1.0, 0], [0, 1], [0, 1]]), [0, 0, 1], 2)
    made = @class@(@class@Config()).build(bank, SideInfo(), make_phase())
    assert made.vectors[:, 0].tolist() == [[0.5, 0.5], [0.0, 1.0]]""",
    ),
    "side_info": Socket(
        summary="A class is what letters its name is made of.",
        example="--side-info sinet --epochs 6",
        fields="""\
    dim: int = Field(64, ge=1, description="Width of the embeddings.")""",
        imports="import torch\n\nfrom noisyrun.api import Phase, SideInfo, SideInfoEncoder, Task, Text",
        base="SideInfoEncoder",
        body='''\
    gives = frozenset({"class_embeddings"})

    def encode(self, task: Task, text: Text, before: SideInfo, phase: Phase) -> SideInfo:
        """Class embeddings [C, dim]: how often each letter, folded into `dim`, stands in the name."""
        embeddings = torch.zeros(task.num_classes, self.config.dim)
        for row, name in enumerate(task.classes):
            for letter in name:
                embeddings[row, ord(letter) % self.config.dim] += 1
        return SideInfo(class_embeddings=embeddings)''',
        uses="from noisyrun.api import SideInfo, Task, Text\n",
        helpers="make_phase, ",
        test="""
def test_names_of_the_same_letters_are_alike():
    names = ("star", "rats", "moon")
    made = @class@(@class@Config()).encode(Task(names), Text(names), SideInfo(), make_phase())
    star, rats, moon = made.class_embeddings
    assert torch.equal(star, rats)
    assert not torch.equal(star, moon)""",
    ),
    "backbone": Socket(
        summary="One hidden layer on the pixels.",
        example="--epochs 6",
        fields="""\
    width: int = Field(64, ge=1, description="Units of the hidden layer, and width of the features.")""",
        imports="""\
from math import prod

from torch import Tensor, nn

from noisyrun.api import Backbone, FeatureExtractor, Task, UserError""",
        base="Backbone",
        body='''\
    def build(self, task: Task) -> FeatureExtractor:
        """The network for images of the task's size."""
        if task.image_size is None or task.channels is None:
            raise UserError(f"{self.key} needs images, and the data has features alone; choose --backbone features")
        return _Network(task.channels * prod(task.image_size), self.config.width)


class _Network(FeatureExtractor):
    """Images [B, channels, H, W] → features [B, width]."""

    def __init__(self, pixels: int, width: int) -> None:
        super().__init__()
        self.dim = width
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(pixels, width), nn.ReLU())

    def features(self, images: Tensor) -> Tensor:
        out: Tensor = self.layers(images)
        return out''',
        uses="from noisyrun.api import Task\n",
        helpers="",
        test="""
def test_features_are_as_wide_as_the_settings_say():
    network = @class@(@class@Config(width=5)).build(Task(("a", "b"), image_size=(8, 8), channels=1))
    assert network(torch.rand(3, 1, 8, 8)).shape == (3, 5)""",
    ),
}
