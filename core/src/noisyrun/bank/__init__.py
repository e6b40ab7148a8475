"""The feature bank: features of the training samples on the GPU, in memory or on disk, read in blocks."""

from noisyrun.bank.build import Head, build, evaluating, extract
from noisyrun.bank.sizes import parse_memory
from noisyrun.bank.stored import Facts, StoredBank

__all__ = ["Facts", "Head", "StoredBank", "build", "evaluating", "extract", "parse_memory"]
