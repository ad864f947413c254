"""May a new version take the alias?

Belongs here: the decision, from numbers alone. Does not: measuring (`evaluation.py`), moving the alias
(`registration.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

#: A candidate may be this much worse in ROC AUC and still take over: about the noise of a holdout of 1,400 customers
#: when the same model is fitted on other customers, so that a fresher model is not refused for luck.
MARGIN = 0.005


@dataclass(frozen=True)
class Verdict:
    """Whether the alias moves, and why, in a sentence for people."""

    promote: bool
    reason: str


@dataclass(frozen=True)
class Champion:
    """The version that has the alias now.

    Attributes:
        version: its number.
        roc_auc: on the candidate's holdout; None if it could not be scored there.
        trouble: why it could not, in a sentence.
        unusable: it cannot score these customers here at all, so that whoever replaces it loses nothing.
    """

    version: str
    roc_auc: float | None = None
    trouble: str = ""
    unusable: bool = False


def decide(candidate: Mapping[str, float], champion: Champion | None, margin: float = MARGIN) -> Verdict:
    """Judge a candidate.

    Nobody passes who does not beat the base rate. Where there is a champion that can score, the candidate must also be
    no worse on the same holdout than the champion, less the margin. A champion that somebody else may be able to use
    (a package missing here, a file not vouched for) is not replaced without having been compared.

    Args:
        candidate: `evaluation.metrics` of the candidate.
        margin: in ROC AUC.
    """
    auc = candidate["roc_auc"]
    if auc <= 0.5 or candidate["brier"] >= candidate["brier_base_rate"]:
        return Verdict(
            False,
            f"It is no better than predicting the base rate of {candidate['base_rate']:.1%} for everyone "
            f"(ROC AUC {auc:.4f}, Brier {candidate['brier']:.4f} against {candidate['brier_base_rate']:.4f}).",
        )
    if champion is None:
        return Verdict(True, f"The first version beats the base rate (ROC AUC {auc:.4f}).")
    if champion.roc_auc is None:
        if champion.unusable:
            return Verdict(
                True,
                f"It beats the base rate (ROC AUC {auc:.4f}), and version {champion.version} cannot score these "
                f"customers: {champion.trouble}",
            )
        return Verdict(False, f"It could not be compared with version {champion.version}: {champion.trouble}")
    compared = f"ROC AUC {auc:.4f} against {champion.roc_auc:.4f} of version {champion.version} on the same holdout"
    if auc >= champion.roc_auc - margin:
        return Verdict(True, f"{compared}: not worse by more than {margin:g}.")
    return Verdict(False, f"{compared}: worse by more than {margin:g}.")
