"""A broker that asks who a client is: passwords, tokens and certificates, made for the test and thrown away.

Belongs here: listeners with SASL and TLS, their users, keys and token endpoint, and the settings with which librdkafka
connects. Does not: the processes (`apache_kafka.py`).

`churn` may do everything; `guest` is known and may do nothing; anybody without security may do everything.
"""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs

from churn_pipeline_tests.kafka.apache_kafka import Broker, free_port
from churn_pipeline_tests.kafka.jars import BrokerUnavailable

PASSWORDS = {"churn": "churn-secret", "guest": "guest-secret"}
KEY_PASSWORD = "key-secret"
_SCRAM = ("SCRAM-SHA-256", "SCRAM-SHA-512")
MECHANISMS = ("PLAIN", *_SCRAM, "OAUTHBEARER")
_JAAS = "org.apache.kafka.common.security"


class SecuredBroker(Broker):
    """One node with a listener for each security protocol; `folder` also holds the keys.

    `SASL_PLAINTEXT` and `SASL_SSL` take all of `MECHANISMS`; `SSL` takes certificates of the test's own authority.
    """

    def __init__(self, folder: Path) -> None:
        self.keys = folder / "keys"
        make_keys(self.keys)
        ports = {protocol: free_port() for protocol in ("SASL_PLAINTEXT", "SSL", "SASL_SSL")}
        super().__init__(
            folder,
            properties=_properties(self.keys),
            extra_listeners=ports,
            scram_users=[f"{how}=[name={who},password={word}]" for how in _SCRAM for who, word in PASSWORDS.items()],
        )
        self._ports = ports

    def client(self, protocol: str, mechanism: str | None = None, user: str = "churn") -> dict[str, str]:
        """The settings of librdkafka with which `user` is let in; a test changes one to be refused.

        OAUTHBEARER tokens are made by librdkafka itself, unsigned; `token_endpoint` is the other way.
        """
        settings = {"bootstrap.servers": f"127.0.0.1:{self._ports[protocol]}", "security.protocol": protocol}
        if "SSL" in protocol:
            settings["ssl.ca.location"] = str(self.keys / "ca.pem")
        if protocol == "SSL":
            settings |= {
                "ssl.certificate.location": str(self.keys / f"{user}.pem"),
                "ssl.key.location": str(self.keys / f"{user}.key"),
                "ssl.key.password": KEY_PASSWORD,
            }
        if mechanism == "OAUTHBEARER":
            settings |= {"enable.sasl.oauthbearer.unsecure.jwt": "true", "sasl.oauthbearer.config": f"principal={user}"}
        elif mechanism:
            settings |= {"sasl.username": user, "sasl.password": PASSWORDS[user]}
        return settings | ({"sasl.mechanism": mechanism} if mechanism else {})


def _properties(keys: Path) -> dict[str, str]:
    """Of server.properties, what the listeners and the authorizer need."""
    plain = " ".join(f'user_{user}="{password}"' for user, password in PASSWORDS.items())
    jaas = {
        "plain": f"{_JAAS}.plain.PlainLoginModule required {plain};",
        "scram-sha-256": f"{_JAAS}.scram.ScramLoginModule required;",
        "scram-sha-512": f"{_JAAS}.scram.ScramLoginModule required;",
        "oauthbearer": f"{_JAAS}.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub=broker;",
    }
    sasl = {
        f"listener.name.{listener}.{mechanism}.sasl.jaas.config": value
        for listener in ("sasl_plaintext", "sasl_ssl")
        for mechanism, value in jaas.items()
    }
    return {
        **sasl,
        "sasl.enabled.mechanisms": ",".join(MECHANISMS),
        "listener.name.ssl.ssl.client.auth": "required",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(keys / "broker.both"),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(keys / "ca.pem"),
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS;User:churn;User:CN=churn",
    }


def make_keys(folder: Path) -> None:
    """An authority (`ca.pem`), a broker signed by it (`broker.both`), and users (`NAME.pem`, encrypted `NAME.key`).

    `stranger.pem` is signed by itself.

    Raises:
        BrokerUnavailable: there is no openssl.
    """
    if shutil.which("openssl") is None:
        raise BrokerUnavailable("There is no openssl on the PATH to make certificates with. Install it.")
    folder.mkdir(parents=True)
    locked = ["-passout", f"pass:{KEY_PASSWORD}"]
    signed = ["-CA", "ca.pem", "-CAkey", "ca.key"]
    host = ["-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"]
    _certificate(folder, "ca", "-noenc")
    _certificate(folder, "broker", "-noenc", *signed, *host)
    for user in PASSWORDS:
        _certificate(folder, user, *signed, *locked)
    _certificate(folder, "stranger", *locked)
    both = (folder / "broker.key").read_text() + (folder / "broker.pem").read_text()
    (folder / "broker.both").write_text(both)


def _certificate(folder: Path, name: str, *more: str) -> None:
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-days", "2"]
    command += ["-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.pem", *more]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)


@contextmanager
def token_endpoint(client_id: str = "churn", secret: str = "token-secret") -> Iterator[str]:
    """An OpenID Connect token endpoint; yields its URL. It gives unsigned tokens to the one client it knows."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            known = self.headers.get("Authorization") == "Basic " + _base64(f"{client_id}:{secret}", padded=True)
            granted = known and form.get("grant_type") == ["client_credentials"]
            answer = {"access_token": _token(client_id), "token_type": "Bearer", "expires_in": 300}
            body = json.dumps(answer if granted else {"error": "invalid_client"}).encode()
            self.send_response(200 if granted else 401)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = False
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/token"
    finally:
        server.shutdown()
        server.server_close()


def _token(subject: str) -> str:
    now = int(time.time())
    claims = {"sub": subject, "iat": now, "exp": now + 300}
    return f"{_base64(json.dumps({'alg': 'none'}))}.{_base64(json.dumps(claims))}."


def _base64(text: str, padded: bool = False) -> str:
    if padded:
        return base64.b64encode(text.encode()).decode()
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")
