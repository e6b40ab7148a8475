"""What plugin authors test with: the conformance suite, and a feature bank and a phase in one line each."""

from noisyrun.testing.banks import make_bank, make_phase
from noisyrun.testing.small import small_settings
from noisyrun.testing.subject import Subject, subject
from noisyrun.testing.suite import Check, Conformance, check_method, checks, parametrize_with_checks
from noisyrun.testing.trial import CheckFailed

__all__ = [
    "Check",
    "CheckFailed",
    "Conformance",
    "Subject",
    "check_method",
    "checks",
    "make_bank",
    "make_phase",
    "parametrize_with_checks",
    "small_settings",
    "subject",
]
