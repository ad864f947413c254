"""A schema registry: which schema has an id.

Belongs here: asking a registry that speaks Confluent's protocol over HTTP (Confluent's own, Apicurio, Karapace,
Redpanda), and how that can fail. Does not: what a schema is used for (`registry_messages.py`), names of environment
variables (`deployments/kafka_settings.py`).

Two questions are asked of it, which is less than a client library for them would bring along.
"""

from __future__ import annotations

import base64
import re
import ssl
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import TypeVar
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import Request, urlopen

import msgspec

from churn_pipeline.errors import SourceError
from churn_pipeline.resources.topics.connection import ConnectionSettingsWrong

#: Bytes of the largest answer that is read; registries refuse schemas of a megabyte.
_LARGEST_ANSWER = 16_000_000

#: The registry's own codes for a subject, a version or a schema that it has not: a web server's 404 has none.
_UNKNOWN = (40401, 40402, 40403)
_URL = re.compile(r"https?://(\[[\da-fA-F:.]+\]|[^\[\]:/?#\s]+)(:\d{1,5})?(/[^?#\s]*)?")

T = TypeVar("T")


class SchemaRegistryUnreachable(SourceError):
    """No schema registry answered in time: down, frozen, elsewhere, or something else that listens there."""


class SchemaRegistryRefused(SourceError):
    """The schema registry answered and does not let this client read schemas: its user, password or permissions."""


@dataclass(frozen=True)
class RegisteredSchema:
    """A schema as it was registered.

    Attributes:
        kind: AVRO, JSON or PROTOBUF.
        text: of the schema.
        references: texts of the schemas that it names, each after those that it names itself.
    """

    kind: str
    text: str
    references: Sequence[str] = ()


class _Reference(msgspec.Struct):
    subject: str
    version: int


class _Answer(msgspec.Struct, rename="camel"):
    schema: str
    schema_type: str | None = None
    references: list[_Reference] | None = None


class _Refusal(msgspec.Struct):
    error_code: int = 0


@dataclass(frozen=True)
class SchemaRegistry:
    """A registry and how to get in. It remembers nothing; a schema never changes, so whoever asks may.

    Attributes:
        url: where its paths begin, http or https, without a password.
        username, password: of basic authentication; None where it asks nobody.
        ca_file: PEM of who signs its certificate; None: whom the system trusts.
        timeout_seconds: most that it may be silent.
    """

    url: str
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    ca_file: Path | None = None
    timeout_seconds: float = 4.0

    def schema(self, schema_id: int) -> RegisteredSchema | None:
        """The schema with this id, with those that it names; None if the registry has none.

        Raises:
            SchemaRegistryUnreachable, SchemaRegistryRefused
            ConnectionSettingsWrong: the address or the file of certificates cannot be used.
        """
        answer = self._ask(f"schemas/ids/{schema_id}")
        if answer is None:
            return None
        return RegisteredSchema(answer.schema_type or "AVRO", answer.schema, list(self._named_by(answer, set())))

    def _named_by(self, answer: _Answer, asked: set[str]) -> Iterator[str]:
        """The schemas that an answer names, and before each those that it names itself; none twice."""
        for reference in answer.references or []:
            path = f"subjects/{quote(reference.subject, safe='')}/versions/{reference.version}"
            if path not in asked:
                asked.add(path)
                found = self._ask(path)
                # One that is gone leaves a schema that nothing can parse.
                if found is not None:
                    yield from self._named_by(found, asked)
                    yield found.schema

    def _ask(self, path: str) -> _Answer | None:
        status, body = self._get(path)
        if status == 200:
            return self._read(body, _Answer)
        if status == 404 and self._read(body, _Refusal).error_code in _UNKNOWN:
            return None
        if status in (401, 403):
            raise SchemaRegistryRefused(
                f"The schema registry at {self.url} refused this client (HTTP {status}). Set "
                "SCHEMA_REGISTRY_USERNAME and SCHEMA_REGISTRY_PASSWORD to a user who may read schemas."
            )
        raise self._unreachable(f"HTTP {status}")

    def _get(self, path: str) -> tuple[int, bytes]:
        self._check_url()
        context = self._tls()
        request = Request(f"{self.url.rstrip('/')}/{path}", headers={"Accept": "application/json"})
        if self.username:
            user = base64.b64encode(f"{self.username}:{self.password or ''}".encode()).decode()
            # Not sent on to where the registry may redirect.
            request.add_unredirected_header("Authorization", f"Basic {user}")
        try:
            try:
                answer = urlopen(request, timeout=self.timeout_seconds, context=context)
            except HTTPError as refusal:
                answer = refusal
            with answer:
                return answer.status, answer.read(_LARGEST_ANSWER)
        except (OSError, HTTPException) as error:
            raise self._unreachable(f"{getattr(error, 'reason', None) or error or type(error).__name__}") from None

    def _read(self, body: bytes, kind: type[T]) -> T:
        try:
            return msgspec.json.decode(body, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise self._unreachable("what answers there is no schema registry") from None

    def _unreachable(self, why: str) -> SchemaRegistryUnreachable:
        return SchemaRegistryUnreachable(
            f"No schema registry could be asked at {self.url} within {self.timeout_seconds:g} s ({why}). See that it "
            "runs and that SCHEMA_REGISTRY_URL is where its paths begin, then score the batch again."
        )

    def _check_url(self) -> None:
        if "@" in self.url:
            raise ConnectionSettingsWrong(
                "SCHEMA_REGISTRY_URL holds a user. Set SCHEMA_REGISTRY_USERNAME and SCHEMA_REGISTRY_PASSWORD instead."
            )
        if not _URL.fullmatch(self.url):
            raise ConnectionSettingsWrong(
                "SCHEMA_REGISTRY_URL is no http or https address. Write where the registry's paths begin, such as "
                "http://localhost:8081."
            )

    def _tls(self) -> ssl.SSLContext | None:
        """Whom to trust; None: whom the system trusts."""
        if self.ca_file is None or self.url.startswith("http:"):
            return None
        try:
            return ssl.create_default_context(cafile=self.ca_file)
        except OSError:  # Not to be read, or no PEM.
            raise ConnectionSettingsWrong(
                f"KAFKA_SSL_CA_LOCATION is {self.ca_file}, which cannot be read as PEM. Correct it, or its permissions."
            ) from None
