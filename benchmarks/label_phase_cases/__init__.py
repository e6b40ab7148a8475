"""Label phases that are measured: each with the naive formula beside it and what it must cost, one module a paper."""

from __future__ import annotations

from collections.abc import Callable

from label_phase_cases import cleannet, sinet, smp, urnet
from label_phase_cases.case import Case, synthetic_bank
from noisyrun.api import FeatureBank

CASES: dict[str, Callable[[FeatureBank], Case]] = {
    "sinet prototypes": sinet.prototypes,
    "sinet weighter": sinet.weigher,
    "smp prototypes": smp.prototypes,
    "smp corrector": smp.corrector,
    "cleannet references": cleannet.references,
    "cleannet encoding": cleannet.encoding,
    "cleannet weighter": cleannet.weigher,
    "urnet-class": urnet.class_size,
    "urnet-cluster": urnet.cluster,
    "urnet-instance": urnet.instance,
    "urnet-label": urnet.label,
}

__all__ = ["CASES", "Case", "synthetic_bank"]
