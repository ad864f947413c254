"""How a Kafka cluster is reached, and the clients that reach it.

Belongs here: addresses, credentials, certificates and timeouts as librdkafka's settings; making and closing clients.
Does not: what clients are asked (`kafka_reading.py`, `kafka_publishing.py`), what their errors mean
(`kafka_errors.py`), names of environment variables (`deployments.py`).
"""

from __future__ import annotations

import logging
import os
import re
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from churn_pipeline.contract.definition import nearest
from churn_pipeline.errors import UsageError
from churn_pipeline.resources.topics.kafka_errors import explained

if TYPE_CHECKING:
    from confluent_kafka import Consumer, KafkaError, Producer
    from confluent_kafka.admin import AdminClient

PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER")

#: What each mechanism needs: field → librdkafka's name.
_PASSWORD = {"username": "sasl.username", "password": "sasl.password"}
_TOKEN = {
    "oauth_token_url": "sasl.oauthbearer.token.endpoint.url",
    "oauth_client_id": "sasl.oauthbearer.client.id",
    "oauth_client_secret": "sasl.oauthbearer.client.secret",
}
_SCOPE = {"oauth_scope": "sasl.oauthbearer.scope"}
_SASL = {**_PASSWORD, **_TOKEN, **_SCOPE, "sasl_mechanism": "sasl.mechanism"}
_TLS_FILES = {
    "tls_ca_file": "ssl.ca.location",
    "tls_certificate_file": "ssl.certificate.location",
    "tls_key_file": "ssl.key.location",
}
_TLS = {**_TLS_FILES, "tls_key_password": "ssl.key.password"}

#: How many complaints of a client's threads are kept to explain why a call failed.
_COMPLAINTS = 20

#: Answers of a broker that is not ready yet, or of a client that has not found it, beside those that say so themselves.
_NOT_READY = (
    "_TRANSPORT",
    "_WAIT_COORD",
    "COORDINATOR_LOAD_IN_PROGRESS",
    "COORDINATOR_NOT_AVAILABLE",
    "LEADER_NOT_AVAILABLE",
    "NOT_COORDINATOR",
    "NOT_LEADER_FOR_PARTITION",
)
_PAUSE_SECONDS = 0.05

T = TypeVar("T")


class ConnectionSettingsWrong(UsageError):
    """A setting of the connection to Kafka is missing, unknown, or cannot be what it is."""


class Deadline:
    """One end for several calls, each of which gets what is left of it."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds; never 0 or less, which librdkafka would take for something else."""
        return max(self._end - time.monotonic(), 0.01)

    @property
    def over(self) -> bool:
        """Whether nothing is left."""
        return time.monotonic() >= self._end


def insist(call: Callable[[float], T], deadline: Deadline) -> T:
    """The answer of a call that takes a timeout, asked again until the deadline while the broker is only not ready."""
    from confluent_kafka import KafkaException

    while True:
        try:
            return call(deadline.left)
        except KafkaException as error:
            reason = error.args[0]
            if deadline.over or not (reason.retriable() or reason.name() in _NOT_READY):
                raise
            time.sleep(_PAUSE_SECONDS)


@dataclass(frozen=True)
class KafkaConnection:
    """A cluster and how to get in. Plain values; no file is looked at before a client is made.

    Attributes:
        bootstrap_servers: `host:port`, several with commas.
        security_protocol: one of `PROTOCOLS`.
        sasl_mechanism: one of `MECHANISMS`; the first three take username and password, OAUTHBEARER the address of
            an OpenID token endpoint, a client's id and secret, and perhaps a scope.
        tls_ca_file: PEM; None: the system's.
        tls_certificate_file, tls_key_file: PEM, where the cluster wants to know the client by its certificate.
        timeout_seconds: most for one question, such as where a topic ends, however many calls it takes.
        settings: anything else that librdkafka knows.
    """

    bootstrap_servers: str
    security_protocol: str = "PLAINTEXT"
    sasl_mechanism: str | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    oauth_token_url: str | None = None
    oauth_client_id: str | None = None
    oauth_client_secret: str | None = field(default=None, repr=False)
    oauth_scope: str | None = None
    tls_ca_file: Path | None = None
    tls_certificate_file: Path | None = None
    tls_key_file: Path | None = None
    tls_key_password: str | None = field(default=None, repr=False)
    timeout_seconds: float = 4.0
    settings: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def is_open(self) -> bool:
        """Whether anybody gets in: neither a secret nor a file of this machine is needed."""
        return self.security_protocol == "PLAINTEXT" and not self.settings

    def configuration(self) -> dict[str, Any]:
        """librdkafka's settings; secrets are among them.

        Raises:
            ConnectionSettingsWrong: names the setting.
        """
        if not self.bootstrap_servers.strip():
            raise ConnectionSettingsWrong("bootstrap_servers is empty. Write host:port, several with commas.")
        self._check_one_of("security_protocol", PROTOCOLS)
        own = {"bootstrap.servers": self.bootstrap_servers, "security.protocol": self.security_protocol}
        own |= self._sasl() if "SASL" in self.security_protocol else self._unused(_SASL, "SASL_PLAINTEXT or SASL_SSL")
        own |= self._tls() if "SSL" in self.security_protocol else self._unused(_TLS, "SSL or SASL_SSL")
        self._check_free(own)
        return {**self.settings, **own}

    @contextmanager
    def consumer(self, what: str, own: Mapping[str, Any], usual: Mapping[str, Any]) -> Iterator[Consumer]:
        """A consumer, closed at the end; an error of the client is raised as one of the port.

        Args:
            what: what it is asked for, in a few words, for that error.
            own: what must be so; `settings` may not name it.
            usual: what `settings` may change.

        Raises:
            ConnectionSettingsWrong, BrokerUnreachable, TopicMissing, TopicRefused, MessagesLost
        """
        from confluent_kafka import Consumer

        with self._client(Consumer, Consumer.close, what, own, usual) as client:
            yield client

    @contextmanager
    def producer(self, what: str, own: Mapping[str, Any], usual: Mapping[str, Any]) -> Iterator[Producer]:
        """A producer, for as long as the context is open; see `consumer`. What it has not sent by then is dropped."""
        from confluent_kafka import Producer

        # Not closed, which would wait for a broker that may not answer.
        with self._client(Producer, Producer.purge, what, own, usual) as client:
            yield client

    @contextmanager
    def admin(self, what: str) -> Iterator[AdminClient]:
        """An admin client; see `consumer`."""
        from confluent_kafka.admin import AdminClient

        with self._client(AdminClient, lambda _: None, what, {}, {}) as client:
            yield client

    @contextmanager
    def _client(
        self,
        kind: Callable[[dict[str, Any]], T],
        end: Callable[[T], None],
        what: str,
        own: Mapping[str, Any],
        usual: Mapping[str, Any],
    ) -> Iterator[T]:
        from confluent_kafka import KafkaException

        complaints: deque[KafkaError] = deque(maxlen=_COMPLAINTS)
        log = _Log(logging.getLogger("churn_pipeline.librdkafka"))
        self._check_free(own)
        settings = {**usual, **self.configuration(), **own, "error_cb": complaints.append, "logger": log}
        try:
            client = kind(settings)
        except KafkaException as error:
            raise _not_accepted(error.args[0]) from None
        try:
            yield client
        except KafkaException as error:
            # Fetches what its threads have to complain of; raises the error again if that is the client's end.
            with suppress(KafkaException):
                client.poll(0)  # type: ignore[attr-defined]
            raise explained(error.args[0], complaints, what, self.bootstrap_servers) from None
        finally:
            end(client)

    def _sasl(self) -> dict[str, str]:
        self._check_one_of("sasl_mechanism", MECHANISMS)
        mechanism = str(self.sasl_mechanism)
        needed = _TOKEN if mechanism == "OAUTHBEARER" else _PASSWORD
        for name in needed:
            if not getattr(self, name):
                raise ConnectionSettingsWrong(f"{name} is not set, and sasl_mechanism {mechanism} needs it. Set it.")
        method = {"sasl.oauthbearer.method": "oidc"} if needed is _TOKEN else {}
        return {"sasl.mechanism": mechanism, **method, **self._named({**needed, **_SCOPE})}

    def _tls(self) -> dict[str, str]:
        for name in _TLS_FILES:
            file = getattr(self, name)
            if file and not os.access(file, os.R_OK):
                raise ConnectionSettingsWrong(
                    f"{name} is {file}, which cannot be read. Correct it, or its permissions."
                )
        return self._named(_TLS)

    def _named(self, names: Mapping[str, str]) -> dict[str, str]:
        return {theirs: str(getattr(self, ours)) for ours, theirs in names.items() if getattr(self, ours)}

    def _unused(self, names: Mapping[str, str], protocols: str) -> dict[str, str]:
        for name in names:
            if getattr(self, name):
                raise ConnectionSettingsWrong(
                    f"{name} is set, and security_protocol {self.security_protocol} would not use it. "
                    f"Set security_protocol to {protocols}, or leave {name} out."
                )
        return {}

    def _check_one_of(self, name: str, allowed: tuple[str, ...]) -> None:
        value = getattr(self, name)
        if value not in allowed:
            is_now = f"is {value!r}{nearest(value, allowed)}" if value else "is not set"
            raise ConnectionSettingsWrong(f"{name} {is_now}. Use one of {', '.join(allowed)}.")

    def _check_free(self, own: Mapping[str, Any]) -> None:
        if taken := sorted(self.settings.keys() & own.keys()):
            raise ConnectionSettingsWrong(f"settings has {taken[0]!r}, which is set elsewhere or fixed. Take it out.")


def _not_accepted(error: KafkaError) -> ConnectionSettingsWrong:
    # Of a setting only the name: librdkafka repeats the value, which may be secret.
    named = re.search(r'property "([^"]*)"', error.str())
    what = f"setting {named[1]!r} or its value" if named else f"settings: {error.str().rstrip('.')}"
    return ConnectionSettingsWrong(f"librdkafka does not accept the {what}. Correct it.")


class _Log:
    """librdkafka's log as Python's: each line once, however often a client tries to connect."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._seen: set[str] = set()

    def log(self, level: int, text: str, *values: Any) -> None:
        line = text % values
        # What differs between repetitions: "(after 3ms in state CONNECT, 4 identical error(s) suppressed)".
        gist = re.sub(r"\(after .*\)", "", line)
        if gist not in self._seen:
            self._seen.add(gist)
            self._logger.log(level, "%s", line)
