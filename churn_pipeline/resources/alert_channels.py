"""Where an alert goes: the log, anything Apprise knows, or a list in memory.

Belongs here: the port, its implementations, and which of them a list of URLs stands for. Does not: the words
(`alerts.py`), remembering what was sent (`alert_log.py`). The URLs hold passwords and tokens: no message, log line or
channel id repeats more of one than its kind and its host.
"""

from __future__ import annotations

import hashlib
import logging
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from churn_pipeline.contract.definition import nearest
from churn_pipeline.errors import AlertError, UsageError
from churn_pipeline.resources.alerts import Alert, Level

_LOG_LEVELS: dict[Level, int] = {"done": logging.INFO, "warning": logging.WARNING, "failed": logging.ERROR}
_NOTIFY_TYPES: dict[Level, str] = {"done": "success", "warning": "warning", "failed": "failure"}


class AlertNotDelivered(AlertError):
    """A channel did not accept an alert; it is sent again at the next attempt."""


class AlertSettingsWrong(UsageError):
    """The URL of an alert channel is not one that Apprise understands."""


class AlertChannel(ABC):
    """One place that alerts are sent to.

    Attributes:
        id: stable and free of secrets; by it the alert log remembers who has an alert already.
    """

    id: str

    @abstractmethod
    def send(self, alert: Alert) -> None:
        """Hand the alert over and wait until it is accepted.

        Raises:
            AlertNotDelivered: it was not accepted, or not in time; names the channel's kind and host only.
        """


class LogChannel(AlertChannel):
    """Writes alerts to the Python log `churn_pipeline.alerts`; what is used where nothing else is set."""

    id = "log"

    def send(self, alert: Alert) -> None:
        """Log the whole text, by level: done as info, a warning as warning, a failure as error."""
        logging.getLogger("churn_pipeline.alerts").log(_LOG_LEVELS[alert.level], "%s", alert.text)


@dataclass
class RecordedChannel(AlertChannel):
    """Keeps alerts in memory, for tests and trials.

    Attributes:
        refusals: how many of the next alerts it refuses.
        alerts: what it accepted.
    """

    id: str = "recorded"
    refusals: int = 0
    alerts: list[Alert] = field(default_factory=list)

    def send(self, alert: Alert) -> None:
        """Keep the alert, or refuse it."""
        if self.refusals:
            self.refusals -= 1
            raise AlertNotDelivered(f"{self.id} refused the alert; {self.refusals} refusals are left.")
        self.alerts.append(alert)


class AppriseChannel(AlertChannel):
    """Sends alerts to one Apprise URL: mail, Slack, Teams, a webhook and a hundred more."""

    def __init__(self, url: str, timeout: float = 20.0, name: str = "The alert channel") -> None:
        """Read the URL; nothing is sent or connected to.

        Args:
            timeout: seconds after which a channel that gives no answer counts as failed. It may still have accepted.
            name: what to call the URL in an error, as it may not be shown.

        Raises:
            AlertSettingsWrong: Apprise does not know the URL's kind, or it lacks a part.
        """
        apprise = _apprise()
        asset = apprise.AppriseAsset(
            app_id="churn-pipeline", app_desc="Churn pipeline", service_timeout=timeout, async_mode=False
        )
        plugin = apprise.Apprise.instantiate(url, asset=asset)
        if plugin is None:
            raise AlertSettingsWrong(f"{name} {_what_is_wrong(url)} See https://appriseit.com/services for its form.")
        self._sender = apprise.Apprise(asset=asset)
        self._sender.add(plugin)
        self._timeout = timeout
        self.where = _where(plugin)
        # Of the URL as Apprise masks it: the digest cannot be used to try passwords, and a changed one is no news.
        masked = hashlib.sha256(plugin.url(privacy=True).encode()).hexdigest()[:8]
        self.id = f"{re.sub(r'[^a-z0-9]+', '_', str(plugin.service_name).lower())}-{masked}"

    def send(self, alert: Alert) -> None:
        """Send the title and the rest as plain text; each channel makes of it what suits it."""
        result = self._sender.notify(
            body=alert.body, title=alert.title, body_format="text", notify_type=_NOTIFY_TYPES[alert.level]
        )
        if not result:
            raise AlertNotDelivered(
                f"{self.where} {self._why(result)}; the alert is sent again at the next attempt. Check that it is "
                "reachable from here and that its credentials in the alert settings are valid."
            )

    def _why(self, result: Any) -> str:
        """In our own words: Apprise's may hold parts of the URL."""
        if any(service.status.name == "TIMEOUT" for service in result):
            return f"gave no answer within {self._timeout:g} s and may or may not have the alert"
        said = " ".join(entry.message for entry in result.logs())
        code = re.search(r"error=(\d{3})\b", said)
        if code:
            return f"answered with HTTP status {code[1]}"
        return "could not be connected to" if "onnection error" in said else "did not accept the alert"


def alert_channels(urls: Sequence[str], timeout: float = 20.0) -> list[AlertChannel]:
    """One channel a URL, with distinct ids; the log if there is none.

    Raises:
        AlertSettingsWrong: names the first URL that is wrong by its place in the list.
    """
    named = [
        AppriseChannel(url, timeout, f"Alert channel {number} of {len(urls)}") for number, url in enumerate(urls, 1)
    ]
    seen: Counter[str] = Counter()
    for channel in named:
        seen[channel.id] += 1
        if seen[channel.id] > 1:
            channel.id = f"{channel.id}-{seen[channel.id]}"
    return [*named] or [LogChannel()]


def _apprise() -> Any:
    import apprise

    # Apprise logs whole URLs when it cannot read one, and urllib3 at level debug every path, tokens included.
    logging.getLogger("apprise").propagate = False
    logging.getLogger("urllib3.connectionpool").setLevel(logging.INFO)
    return apprise


def _where(plugin: Any) -> str:
    """Kind and host: the host only of services that have one, as others keep a token in its place."""
    host = getattr(plugin, "smtp_host", None) or (plugin.host if "host" in plugin.template_tokens else None)
    if not host or not re.search(r"[.:]|^localhost$", host):
        return str(plugin.service_name)
    return f"{plugin.service_name} at {host}" + (f":{plugin.port}" if plugin.port else "")


def _what_is_wrong(url: str) -> str:
    from apprise.manager_plugins import NotificationManager

    kind = re.match(r"\s*([A-Za-z0-9]{1,20}):/", url)
    known = set(NotificationManager().schemas())
    if kind is None:
        return "is no URL: it has to begin with its kind, such as 'mailto://' or 'slack://'."
    if kind[1].lower() in known:
        return f"({kind[1]}) lacks a part, or one has not the form it should have."
    return f"is of a kind Apprise does not know: {kind[1]!r}{nearest(kind[1], known)}."
