"""What plugin authors test with: a feature bank and a phase in one line each."""

from noisyrun.testing.banks import make_bank, make_phase

__all__ = ["make_bank", "make_phase"]
