"""What an error of librdkafka means to the person who runs this.

Belongs here: code and reason → an error of the port. Does not: what is tried again, which is up to the caller.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from churn_pipeline.errors import SourceError
from churn_pipeline.resources.topics.base import (
    BrokerUnreachable,
    MessagesLost,
    PublishingFailed,
    TopicMissing,
    TopicRefused,
)

if TYPE_CHECKING:
    from confluent_kafka import KafkaError

_REFUSED = (
    "_AUTHENTICATION",
    "_SSL",
    "SASL_AUTHENTICATION_FAILED",
    "UNSUPPORTED_SASL_MECHANISM",
    "ILLEGAL_SASL_STATE",
    "SECURITY_DISABLED",
    "CLUSTER_AUTHORIZATION_FAILED",
    "GROUP_AUTHORIZATION_FAILED",
    "TOPIC_AUTHORIZATION_FAILED",
    "TRANSACTIONAL_ID_AUTHORIZATION_FAILED",
)
_MISSING = ("_UNKNOWN_TOPIC", "_UNKNOWN_PARTITION", "UNKNOWN_TOPIC_OR_PART", "TOPIC_EXCEPTION")
_FENCED = ("_FENCED", "INVALID_PRODUCER_EPOCH", "PRODUCER_FENCED")
#: After these it is not known whether a transaction was committed.
_SILENT = ("_ALL_BROKERS_DOWN", "_TIMED_OUT", "_TRANSPORT", "REQUEST_TIMED_OUT")
_LOST = ("_AUTO_OFFSET_RESET", "_LOG_TRUNCATION", "OFFSET_OUT_OF_RANGE")


def explained(error: KafkaError, complaints: Iterable[KafkaError], what: str, servers: str) -> SourceError:
    """The error of the port for an error of the client.

    Args:
        complaints: what the client's threads reported meanwhile. A call of a client that cannot get in only times
            out; why is among these.
        what: what was asked for, in a few words.
        servers: the bootstrap servers.
    """
    heard = [error, *reversed([c for c in complaints if c.name() != "_ALL_BROKERS_DOWN"])]
    where = f"Kafka at {servers}"
    for refusal in (e for e in heard if e.name() in _REFUSED):
        return TopicRefused(
            f"{where} refused {what}: {_said(refusal)}. Correct user, password or certificates, or give the user the "
            "permission."
        )
    if error.name() in _MISSING:
        return TopicMissing(f"{where} could not give {what}: {_said(error)}. Create the topic, or correct its name.")
    if error.name() in _LOST:
        return MessagesLost(f"{where} could not give {what}: {_said(error)}. Raise the topic's retention.")
    why = "; ".join(dict.fromkeys(_said(e) for e in heard[:2]))
    return BrokerUnreachable(
        f"{where} gave no answer in time when asked for {what}: {why}. Start it, or correct the bootstrap servers or "
        "the security protocol."
    )


def is_refusal(error: KafkaError) -> bool:
    """Whether `explained` says what to do about it, whatever was asked for: a permission, or a missing topic."""
    return error.name() in _REFUSED + _MISSING


def is_fenced(error: KafkaError) -> bool:
    """Whether another client took over the transactional id."""
    return error.name() in _FENCED


def not_published(error: KafkaError, batch_id: str, servers: str) -> PublishingFailed:
    """What the failure of a batch's transaction means to the person who runs this."""
    where = f"Kafka at {servers}"
    if is_fenced(error):
        return PublishingFailed(
            f"Batch {batch_id} was not published to {where}: another publisher of the same group and topic took over, "
            "or the transaction outlasted transaction.timeout.ms. Stop one of two that run at once, then score the "
            "batch again; what is published already is not again."
        )
    if error.name() in _SILENT:
        return PublishingFailed(
            f"{where} did not say in time whether batch {batch_id} is published: {_said(error)}. See that it runs, "
            "then score the batch again; what is published already is not again."
        )
    return PublishingFailed(
        f"Batch {batch_id} was not published to {where}: {_said(error)}. Remove the cause, then score the batch again; "
        "none of its messages can be seen by readers of committed ones."
    )


def _said(error: KafkaError) -> str:
    # "host:1/bootstrap: Connect to … failed: Connection refused (after 0ms in state CONNECT)".
    return re.sub(r"^\[thrd:[^]]*\]: | ?\(after .*\)$", "", error.str()).rstrip(".")
