"""A message broker for people without one: librdkafka's in-process cluster.

Belongs here: its life, its limits, and how to know one from Kafka. Does not: clients, which speak to it as to any
broker (`kafka_reading.py`, `kafka_publishing.py`).
"""

from __future__ import annotations

from types import TracebackType
from typing import Self

#: Of every topic; no other number can be had.
PARTITIONS = 4

#: About what it keeps of each partition; what comes after pushes the oldest out, read or not.
KEPT_BYTES = 5 * 1024 * 1024

LIMITS = (
    f"A topic is made when it is first named, even misspelt, with {PARTITIONS} partitions; that cannot be changed.",
    f"About {KEPT_BYTES // 1024**2} MB of a partition are kept, some 10,000 customers; older are lost, read or not.",
    "Transactions are pretended: what is aborted is read all the same, the offsets sent in one are not kept, nobody is "
    "fenced. A message can come twice.",
    "There is no administration of topics, groups or permissions, and there are no passwords and no encryption.",
    "It ends with the process that started it, and so does all that it holds.",
)


class EmbeddedBroker:
    """One broker on loopback, in this process, for clients in this or in others; as a context it ends with it."""

    def __init__(self) -> None:
        from confluent_kafka import Producer

        self._host = Producer(
            # The address is not used. The log level leaves out the notice that this is a mock.
            {"bootstrap.servers": "embedded", "test.mock.num.brokers": 1, "log_level": 3}
        )
        (broker,) = self._host.list_topics(timeout=10).brokers.values()
        #: What clients take as `bootstrap.servers`.
        self.bootstrap = f"{broker.host}:{broker.port}"

    def close(self) -> None:
        """End it; what it held is gone."""
        # The cluster lives as long as the client it belongs to.
        self._host.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def is_embedded(cluster_id: str | None) -> bool:
    """Whether a cluster is an embedded one, by the `cluster_id` that its metadata reports: see `LIMITS`."""
    return cluster_id is not None and cluster_id.startswith("mockCluster")
