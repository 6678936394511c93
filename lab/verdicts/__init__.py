"""From the runs of a claim to its verdict: protocol, statistic over seeds, control, record."""

from lab.verdicts.diagnosis import diagnose
from lab.verdicts.protocol import (
    REVISED,
    SEED_OFFSET,
    Arms,
    Claim,
    Control,
    Measured,
    with_disjoint_seeds,
)
from lab.verdicts.records import claim_of, file_name, markdown, records_folder
from lab.verdicts.verdict import decide, evaluate_claim, record
from lab.verdicts.why import why

__all__ = [
    "REVISED",
    "SEED_OFFSET",
    "Arms",
    "Claim",
    "Control",
    "Measured",
    "claim_of",
    "decide",
    "diagnose",
    "evaluate_claim",
    "file_name",
    "markdown",
    "record",
    "records_folder",
    "why",
    "with_disjoint_seeds",
]
