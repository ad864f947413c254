"""How this deployment reaches Kafka, and what it does with a topic.

Belongs here: names of environment variables and defaults, and the plain values made of them. Does not: clients
(`resources/topics/`), planning (`offset_planning.py`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from churn_pipeline.contract.definition import nearest
from churn_pipeline.deployments.fields import SECRET, SettingInvalid, setting, whole_number
from churn_pipeline.io_managers.topic_batches import PlanningRules
from churn_pipeline.offset_planning import GAP_POLICIES, Start, StartInvalid
from churn_pipeline.resources.customer_sources.avro_messages import AvroMessages, check_avro_installed
from churn_pipeline.resources.customer_sources.json_messages import JsonMessages, MessageLimits
from churn_pipeline.resources.customer_sources.registry_messages import FramedJsonMessages
from churn_pipeline.resources.customer_sources.schema_registry import SchemaRegistry
from churn_pipeline.resources.customer_sources.topic_messages import MessageFormat
from churn_pipeline.resources.topics.connection import ConnectionSettingsWrong, KafkaConnection

#: Fields of the connection, and the settings that they come from.
_CONNECTION = {
    "bootstrap_servers": "kafka_servers",
    "security_protocol": "kafka_protocol",
    "sasl_mechanism": "kafka_mechanism",
    "username": "kafka_username",
    "password": "kafka_password",
    "oauth_token_url": "kafka_token_url",
    "oauth_client_id": "kafka_client_id",
    "oauth_client_secret": "kafka_client_secret",
    "oauth_scope": "kafka_scope",
    "tls_ca_file": "kafka_ca",
    "tls_certificate_file": "kafka_certificate",
    "tls_key_file": "kafka_key",
    "tls_key_password": "kafka_key_password",
}
_FILES = ("tls_ca_file", "tls_certificate_file", "tls_key_file")

#: How messages may be written.
FORMATS = ("json", "avro", "json_schema")


@dataclass(frozen=True)
class KafkaSettings:
    """Settings of topics; none is needed by those who score files."""

    kafka_servers: str = setting("KAFKA_BOOTSTRAP_SERVERS", "", "Kafka brokers, host:port, several with commas.")
    kafka_topic: str = setting("CHURN_KAFKA_TOPIC", "", "Topic whose messages are scored as they come; empty: none.")
    kafka_group: str = setting(
        "CHURN_KAFKA_GROUP", "churn-pipeline", "Consumer group that remembers what was published."
    )
    kafka_predictions: str = setting("CHURN_KAFKA_PREDICTIONS_TOPIC", "", "Topic of predictions; empty: tables alone.")
    kafka_dead_letters: str = setting(
        "CHURN_KAFKA_DEAD_LETTER_TOPIC", "", "Topic of messages that were not scored; empty: tables alone."
    )
    kafka_start: str = setting(
        "CHURN_KAFKA_START", "earliest", "Where a new topic begins: earliest, latest, a time, or offsets as JSON."
    )
    kafka_retention_gap: str = setting(
        "CHURN_KAFKA_RETENTION_GAP", "fail", "Messages deleted before they were scored: fail, or record and go on."
    )
    kafka_batch_messages: str = setting("CHURN_KAFKA_BATCH_MESSAGES", "1000000", "Most messages in a batch.")
    kafka_batch_bytes: str = setting("CHURN_KAFKA_BATCH_BYTES", "1000000000", "Most bytes in a batch, about.")
    kafka_attempts: str = setting("CHURN_KAFKA_ATTEMPTS", "3", "Runs of one batch before it waits for a person.")
    kafka_format: str = setting("CHURN_KAFKA_FORMAT", "json", f"How messages are written: {', '.join(FORMATS)}.")
    kafka_envelope: str = setting(
        "CHURN_KAFKA_ENVELOPE",
        "",
        "Field of a message that holds the record, such as data or payload.after; empty: none.",
    )
    kafka_message_bytes: str = setting("CHURN_KAFKA_MESSAGE_BYTES", "1000000", "Larger messages are rejected unread.")
    kafka_timeout: str = setting("CHURN_KAFKA_TIMEOUT", "4", "Seconds until a silent broker counts as unreachable.")
    kafka_protocol: str = setting("KAFKA_SECURITY_PROTOCOL", "PLAINTEXT", "PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL.")
    kafka_mechanism: str = setting("KAFKA_SASL_MECHANISM", "", "PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER.")
    kafka_username: str = setting("KAFKA_SASL_USERNAME", "", "User for PLAIN and SCRAM.")
    kafka_password: str = setting("KAFKA_SASL_PASSWORD", "", "Its password.", kind=SECRET)
    kafka_token_url: str = setting("KAFKA_SASL_OAUTH_TOKEN_URL", "", "OpenID token endpoint for OAUTHBEARER.")
    kafka_client_id: str = setting("KAFKA_SASL_OAUTH_CLIENT_ID", "", "Client there.")
    kafka_client_secret: str = setting("KAFKA_SASL_OAUTH_CLIENT_SECRET", "", "Its secret.", kind=SECRET)
    kafka_scope: str = setting("KAFKA_SASL_OAUTH_SCOPE", "", "Scope to ask it for.")
    kafka_ca: str = setting("KAFKA_SSL_CA_LOCATION", "", "PEM file of who signs the brokers; empty: the system's.")
    kafka_certificate: str = setting("KAFKA_SSL_CERTIFICATE_LOCATION", "", "PEM file of this client's certificate.")
    kafka_key: str = setting("KAFKA_SSL_KEY_LOCATION", "", "PEM file of its key.")
    kafka_key_password: str = setting("KAFKA_SSL_KEY_PASSWORD", "", "Password of that key.", kind=SECRET)
    registry_url: str = setting("SCHEMA_REGISTRY_URL", "", "Schema registry of avro and json_schema messages.")
    registry_username: str = setting("SCHEMA_REGISTRY_USERNAME", "", "User there; empty: it asks nobody.")
    registry_password: str = setting("SCHEMA_REGISTRY_PASSWORD", "", "Its password.", kind=SECRET)

    def connection(self) -> KafkaConnection:
        """The cluster and how to get in.

        Raises:
            SettingInvalid: no broker is named, or a setting is missing or wrong; names its variable.
        """
        if not self.kafka_servers.strip():
            raise SettingInvalid(
                "KAFKA_BOOTSTRAP_SERVERS is not set, and a topic is needed. Write host:port of a broker; "
                "churn-pipeline broker starts one."
            )
        given: dict[str, Any] = {name: getattr(self, ours) for name, ours in _CONNECTION.items() if getattr(self, ours)}
        given |= {name: Path(given[name]) for name in _FILES if name in given}
        if self.registry_url and "SSL" not in self.kafka_protocol:
            given.pop("tls_ca_file", None)  # it is the registry's
        connection = KafkaConnection(**given, timeout_seconds=self.timeout())
        try:
            connection.configuration()
        except ConnectionSettingsWrong as error:
            fields = KafkaSettings.__dataclass_fields__
            said = re.sub(
                "|".join(rf"\b{name}\b" for name in _CONNECTION),
                lambda found: str(fields[_CONNECTION[found[0]]].metadata["variable"]),
                str(error),
            )
            raise SettingInvalid(said) from None
        return connection

    def planning_rules(self) -> PlanningRules:
        """How a topic is cut into batches."""
        try:
            start = Start.parse(self.kafka_start)
        except StartInvalid as error:
            raise SettingInvalid(f"CHURN_KAFKA_START: {error}") from None
        policy = next((known for known in GAP_POLICIES if known == self.kafka_retention_gap), None)
        if policy is None:
            raise SettingInvalid(
                f"CHURN_KAFKA_RETENTION_GAP is {self.kafka_retention_gap!r}. Use one of {', '.join(GAP_POLICIES)}."
            )
        messages = whole_number("CHURN_KAFKA_BATCH_MESSAGES", self.kafka_batch_messages)
        return PlanningRules(start, policy, messages, whole_number("CHURN_KAFKA_BATCH_BYTES", self.kafka_batch_bytes))

    def message_limits(self) -> MessageLimits:
        """What a message may be before it is rejected unread."""
        return MessageLimits(bytes=whole_number("CHURN_KAFKA_MESSAGE_BYTES", self.kafka_message_bytes))

    def message_format(self) -> MessageFormat:
        """How messages are read.

        Raises:
            SettingInvalid: there is no such format, or no schema registry is named.
            AvroUnavailable: messages are Avro, and the extra `registry` is not installed.
        """
        limits, envelope = self.message_limits(), self.kafka_envelope or None
        if self.kafka_format not in FORMATS:
            known = f"{nearest(self.kafka_format, FORMATS)}. Use one of {', '.join(FORMATS)}."
            raise SettingInvalid(f"CHURN_KAFKA_FORMAT is {self.kafka_format!r}{known}")
        if self.kafka_format == "json":
            return lambda contract, with_label: JsonMessages(contract, limits, envelope, with_label=with_label).rows
        if self.kafka_format == "avro":
            check_avro_installed()
        read = AvroMessages if self.kafka_format == "avro" else FramedJsonMessages
        registry = self.schema_registry()
        return lambda contract, with_label: read(registry, contract, limits, envelope, with_label=with_label).rows

    def schema_registry(self) -> SchemaRegistry:
        """Where the schemas of messages are, and how to get in.

        Raises:
            SettingInvalid: none is named.
        """
        if not self.registry_url.strip():
            raise SettingInvalid(
                f"SCHEMA_REGISTRY_URL is not set, and CHURN_KAFKA_FORMAT {self.kafka_format} needs it. Write where the "
                "registry's paths begin, such as http://localhost:8081."
            )
        return SchemaRegistry(
            self.registry_url.strip(),
            self.registry_username or None,
            self.registry_password or None,
            Path(self.kafka_ca) if self.kafka_ca else None,
            self.timeout(),
        )

    def attempts(self) -> int:
        """Runs of one batch before it waits for a person."""
        return whole_number("CHURN_KAFKA_ATTEMPTS", self.kafka_attempts)

    def timeout(self) -> float:
        """Seconds until a silent broker counts as unreachable."""
        try:
            seconds = float(self.kafka_timeout)
        except ValueError:
            seconds = 0
        if not 0 < seconds < 3600:
            raise SettingInvalid(f"CHURN_KAFKA_TIMEOUT is {self.kafka_timeout!r}. Write seconds, such as 4.")
        return seconds
