import email
import email.policy
import io
import logging
import time

import pytest

from churn_pipeline.resources.alert_channels import (
    AlertNotDelivered,
    AlertSettingsWrong,
    AppriseChannel,
    LogChannel,
    RecordedChannel,
    alert_channels,
)
from churn_pipeline.resources.alerts import Alert
from churn_pipeline_tests.resources.alert_servers import free_port, mail_server, webhook

ALERT = Alert(
    "completed/b-1", "Call list ready: 2 < 3 & more.", ("Status: done", "Batch: b-1"), "done", "http://x/runs/1"
)


@pytest.fixture
def written():
    """What reaches a log file of everything; caplog would also show what a logger keeps from the root."""
    stream, root = io.StringIO(), logging.getLogger()
    handler = logging.StreamHandler(stream)
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield stream
    root.removeHandler(handler)
    root.setLevel(level)


def test_without_a_setting_alerts_go_to_the_log(caplog):
    [channel] = alert_channels([])
    with caplog.at_level(logging.INFO):
        channel.send(ALERT)
        LogChannel().send(Alert("failed/b-1", "Fix.", (), "failed"))
    assert [record.levelname for record in caplog.records] == ["INFO", "ERROR"]
    assert "Call list ready: 2 < 3 & more.\n\nStatus: done\nBatch: b-1\nRun: http://x/runs/1" in caplog.text


def test_a_webhook_that_was_down_gets_the_alert_once_it_is_up():
    port = free_port()
    channel = AppriseChannel(f"json://127.0.0.1:{port}/")
    with pytest.raises(AlertNotDelivered, match=rf"JSON at 127.0.0.1:{port} could not be connected to"):
        channel.send(ALERT)
    with webhook(port) as (_, received):
        channel.send(ALERT)
    [body] = received
    assert body["title"] == ALERT.title
    assert body["message"] == ALERT.body
    assert body["type"] == "success"


def test_a_mail_server_that_was_down_gets_the_alert_once_it_is_up():
    port = free_port()
    url = f"mailto://127.0.0.1:{port}?smtp=127.0.0.1&from=churn@example.org&to=team@example.org"
    with pytest.raises(AlertNotDelivered, match=rf"E-Mail at 127.0.0.1:{port} could not be connected to"):
        AppriseChannel(url).send(ALERT)
    with mail_server(port) as received:
        AppriseChannel(url).send(ALERT)
    [raw] = received
    message = email.message_from_bytes(raw, policy=email.policy.default)
    text = message.get_body(("plain",)).get_content()
    assert message["Subject"] == ALERT.title
    assert message["To"] == "team@example.org"
    assert [line for line in text.splitlines() if line.strip()] == ALERT.body.splitlines()


def test_an_endpoint_that_refuses_is_named_with_its_answer():
    with webhook(status=403) as (port, _), pytest.raises(AlertNotDelivered, match="answered with HTTP status 403"):
        AppriseChannel(f"json://127.0.0.1:{port}/").send(ALERT)


@pytest.mark.slow
def test_an_endpoint_that_does_not_answer_is_waited_for_only_so_long():
    began = time.monotonic()
    with (
        webhook(delay=1.5) as (port, _),
        pytest.raises(AlertNotDelivered, match=r"no answer within 0\.3 s and may or may not have the alert"),
    ):
        AppriseChannel(f"json://127.0.0.1:{port}/", timeout=0.3).send(ALERT)
    assert time.monotonic() - began < 1.5 + 1


@pytest.mark.parametrize(
    "url",
    [
        "json://user:SECRET@127.0.0.1:9/SECRET?+Token=SECRET",
        "mailto://user:SECRET@127.0.0.1:9?smtp=127.0.0.1&from=a@example.org&to=b@example.org",
    ],
)
def test_a_failed_delivery_tells_no_secret(url, written):
    channel = AppriseChannel(url)
    with pytest.raises(AlertNotDelivered, match=r"at 127\.0\.0\.1:9 could not") as raised:
        channel.send(ALERT)
    assert (
        "SECRET"
        not in f"{raised.value} {raised.value.__cause__} {channel.id} {channel!r} {channel.where} {written.getvalue()}"
    )


def test_an_endpoint_that_is_reached_leaves_no_secret_in_the_log(written):
    with webhook() as (port, received), webhook(status=404) as (other, _):
        AppriseChannel(f"json://user:SECRET@127.0.0.1:{port}/SECRET").send(ALERT)
        with pytest.raises(AlertNotDelivered):
            AppriseChannel(f"json://127.0.0.1:{other}/SECRET").send(ALERT)
    assert received
    assert "SECRET" not in written.getvalue()


def test_a_token_that_stands_in_the_place_of_a_host_is_not_shown():
    for url in (
        "slack://SECRETAAA/SECRETBBB/SECRETCCCDDDEEEFFFGGGHHH",
        "discord://SECRET.AAA/SECRETBBB",
        "ntfy://SECRET",
    ):
        channel = AppriseChannel(url)
        assert "SECRET" not in channel.where + channel.id


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("slak://SECRET/SECRET", r"kind Apprise does not know: 'slak' \(nearest: 'slack'\)"),
        ("slack://SECRET/SECRET", r"\(slack\) lacks a part"),
        ("SECRET", "is no URL"),
        ("", "is no URL"),
        ("tgram://SECRET:x", r"\(tgram\) lacks a part"),
    ],
)
def test_a_wrong_url_is_named_by_its_place_and_kind_and_tells_no_secret(url, said, written):
    with pytest.raises(AlertSettingsWrong, match=f"Alert channel 2 of 2 .*{said}") as raised:
        alert_channels(["json://127.0.0.1/", url])
    assert "SECRET" not in f"{raised.value} {raised.value.__cause__} {written.getvalue()}"


def test_channels_have_distinct_ids_that_outlive_a_new_password():
    def ids(*urls):
        return [channel.id for channel in alert_channels(urls)]

    first = ids("json://u:one@127.0.0.1/", "json://u:one@127.0.0.1/", "json://127.0.0.2/")
    assert len(set(first)) == 3
    assert ids("json://u:two@127.0.0.1/") == first[:1]
    assert ids("json://127.0.0.2/") == first[2:]


def test_the_channel_in_memory_refuses_as_often_as_told():
    channel = RecordedChannel(refusals=1)
    with pytest.raises(AlertNotDelivered):
        channel.send(ALERT)
    channel.send(ALERT)
    assert channel.alerts == [ALERT]
