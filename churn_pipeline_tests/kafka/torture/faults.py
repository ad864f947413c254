"""What is done to the service: which faults, in which order, at which moments, all of it from one seed.

Belongs here: the plan, from numbers alone. Does not: doing it (`injection.py`), processes (`daemons.py`).
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Literal, TypeVar

from churn_pipeline_tests.kafka.torture.daemons import ENDS, STARTS, Target

Kind = Literal["kill", "freeze", "broker kill", "partition", "second sensor"]

#: Steps of a scoring run in the order of their effects, and the moments around them.
MOMENTS = (
    STARTS,
    "read_customers",
    "score_customers_of_batch",
    "scored_batches",
    "current_churn_scores",
    "publish_batch",
    ENDS,
)

#: Longest time into its step that a fault comes, in seconds.
_INTO_STEP = 0.4

T = TypeVar("T")


@dataclass(frozen=True)
class Fault:
    """One fault.

    Attributes:
        gap: seconds of peace before it.
        target: processes that are killed or frozen; None for faults of Kafka.
        moment: step of a run that is waited for; None: whatever goes on.
        delay: seconds into that step.
        seconds: how long it lasts: frozen, or down before it is started again.
        second: whether it befalls the second daemon, if there is one yet.
    """

    number: int
    kind: Kind
    gap: float
    target: Target | None = None
    moment: str | None = None
    delay: float = 0.0
    seconds: float = 0.0
    second: bool = False


@dataclass(frozen=True)
class Wanted:
    """How many faults of which kind.

    Attributes:
        gap: mean seconds of peace between two.
        wait: seconds until a step comes that is waited for, about.
    """

    kills: int
    freezes: int
    freeze_seconds: float
    broker_kills: int
    gap: float
    wait: float = 25.0
    seed: int = 0

    def planned(self) -> list[Fault]:
        """The faults in order: after a quarter a second sensor is started, in the middle a partition is added."""
        rng = random.Random(self.seed)
        counts: dict[Kind, int] = {"kill": self.kills, "freeze": self.freezes, "broker kill": self.broker_kills}
        kinds = [kind for kind, count in counts.items() for _ in range(count)]
        rng.shuffle(kinds)
        kinds.insert(len(kinds) // 4, "second sensor")
        kinds.insert(len(kinds) // 2, "partition")
        # A code server that was killed is missed for a minute, in which nothing is scored.
        targets: dict[Kind, Iterator[Target]] = {
            "kill": _in_turns(("run", "run", "daemon", "run", "daemon", "code server"), rng),
            "freeze": _in_turns(("run", "daemon"), rng),
        }
        moments: dict[Target | None, Iterator[str | None]] = {
            "run": _in_turns(MOMENTS, rng),
            "daemon": _in_turns((*MOMENTS, None), rng),
            "code server": _in_turns((*MOMENTS, None), rng),
        }
        of_broker = _in_turns(("publish_batch", "read_customers", None), rng)
        found = []
        for number, kind in enumerate(kinds, 1):
            target = next(targets[kind]) if kind in targets else None
            moment = next(moments[target]) if target else next(of_broker) if kind == "broker kill" else None
            gap, down = rng.uniform(0, 2 * self.gap), rng.uniform(0, 3)
            seconds = self.freeze_seconds if kind == "freeze" else down
            delay, second = rng.uniform(0, _INTO_STEP), rng.random() < 0.5
            found.append(Fault(number, kind, gap, target, moment, delay, seconds, second))
        return found

    @property
    def seconds(self) -> float:
        """About how long all of them take."""
        return sum(fault.gap + fault.seconds + self.wait * bool(fault.moment) for fault in self.planned())


def _in_turns(values: Sequence[T], rng: random.Random) -> Iterator[T]:
    """All of them, shuffled, again and again: none is left out by chance."""
    shuffled = list(values)
    rng.shuffle(shuffled)
    return cycle(shuffled)
