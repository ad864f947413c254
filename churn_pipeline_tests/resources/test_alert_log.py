import errno
import json
import multiprocessing
import os
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from churn_pipeline.resources.alert_channels import (
    AlertChannel,
    AlertNotDelivered,
    AppriseChannel,
    RecordedChannel,
    alert_channels,
)
from churn_pipeline.resources.alert_log import AlertBeingSent, AlertLog, AlertLogUnusable
from churn_pipeline.resources.alerts import Alert
from churn_pipeline_tests.resources.alert_servers import free_port, mail_server, webhook

ALERT = Alert("completed/b-1/churn_model-3", "Call list ready.", ("Status: done",), "done")
OTHER = Alert("failed/b-1", "Fix and run again.", (), "failed")


@pytest.fixture
def log(tmp_path):
    return AlertLog(tmp_path / "alerts")


@pytest.fixture(scope="module")
def processes():
    """Real processes that have their imports already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["apprise", __name__])
    return context


def test_an_alert_is_sent_once_however_often_it_is_tried(log):
    channel = RecordedChannel()
    assert log.deliver(ALERT, [channel])
    assert not log.deliver(ALERT, [channel])
    assert channel.alerts == [ALERT]


def test_a_new_process_remembers_what_an_old_one_sent(log, tmp_path):
    channel = RecordedChannel()
    log.deliver(ALERT, [channel])
    assert not AlertLog(tmp_path / "alerts").deliver(ALERT, [channel])


def test_other_keys_are_other_alerts_even_where_their_file_names_would_be_alike(log):
    channel = RecordedChannel()
    keys = ["failed/b-1", "failed.b-1", "failed/b:1", "failed/" + "x" * 300, "failed/" + "x" * 301]
    assert all(log.deliver(Alert(key, "t", (), "failed"), [channel]) for key in keys)
    assert len(channel.alerts) == 5


def test_only_the_channel_that_failed_is_tried_again(log):
    good, bad = RecordedChannel("good"), RecordedChannel("bad", refusals=1)
    with pytest.raises(AlertNotDelivered, match="bad refused"):
        log.deliver(ALERT, [bad, good])
    assert log.sent(ALERT.key).channels == ("good",)
    assert log.deliver(ALERT, [bad, good])
    assert (len(good.alerts), len(bad.alerts)) == (1, 1)


def test_every_channel_that_failed_is_named(log):
    with pytest.raises(AlertNotDelivered, match=r"one refused.*two refused"):
        log.deliver(ALERT, [RecordedChannel("one", refusals=1), RecordedChannel("two", refusals=1)])


def test_a_webhook_and_a_mail_server_that_were_down_get_one_alert_each(log):
    web, mail = free_port(), free_port()
    urls = [
        f"json://127.0.0.1:{web}/",
        f"mailto://127.0.0.1:{mail}?smtp=127.0.0.1&from=a@example.org&to=b@example.org",
    ]
    with pytest.raises(AlertNotDelivered, match=r"JSON at .*E-Mail at "):
        log.deliver(ALERT, alert_channels(urls))
    with webhook(web) as (_, bodies):
        with pytest.raises(AlertNotDelivered, match=r"^E-Mail at "):
            log.deliver(ALERT, alert_channels(urls))
        with mail_server(mail) as mails:
            assert log.deliver(ALERT, alert_channels(urls))
            assert not log.deliver(ALERT, alert_channels(urls))
    assert (len(bodies), len(mails)) == (1, 1)


@pytest.mark.slow
def test_eight_processes_at_once_send_one_alert(tmp_path, processes):
    with webhook(delay=0.1) as (port, received):
        outcomes, together = processes.SimpleQueue(), processes.Barrier(8)
        workers = [processes.Process(target=_deliver, args=(tmp_path, port, outcomes, together)) for _ in range(8)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(60)
        assert sorted(_all_of(outcomes)) == [False] * 7 + [True]
    assert len(received) == 1


def test_threads_of_one_process_exclude_each_other_too(log):
    channel = RecordedChannel()
    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(lambda _: log.deliver(ALERT, [channel]), range(8))) == 1
    assert len(channel.alerts) == 1


@pytest.mark.slow
def test_a_process_killed_while_sending_frees_the_alert_for_the_next(tmp_path, processes):
    with webhook(delay=30) as (port, received):
        outcomes = processes.SimpleQueue()
        worker = processes.Process(target=_deliver, args=(tmp_path, port, outcomes))
        worker.start()
        _wait_for(lambda: received)
        worker.kill()
        worker.join(10)
    channel = RecordedChannel()
    assert AlertLog(tmp_path).deliver(ALERT, [channel])
    assert channel.alerts == [ALERT]


@pytest.mark.slow
def test_a_process_that_is_stopped_while_sending_is_not_waited_for_for_ever(tmp_path, processes):
    with webhook(delay=3) as (port, received):
        outcomes = processes.SimpleQueue()
        worker = processes.Process(target=_deliver, args=(tmp_path, port, outcomes))
        worker.start()
        _wait_for(lambda: received)
        with pytest.raises(AlertBeingSent, match=r"for 0\.2 s"):
            AlertLog(tmp_path, patience=0.2).deliver(ALERT, [RecordedChannel()])
        worker.kill()
        worker.join(10)


def test_a_record_that_was_cut_off_counts_for_nothing(log, tmp_path):
    log.deliver(ALERT, [RecordedChannel("one")])
    [file] = (tmp_path / "alerts").iterdir()
    with file.open("ab") as stream:
        stream.write(b'{"channel": "two", "at": "2026')
    assert log.sent(ALERT.key).channels == ("one",)
    assert log.deliver(ALERT, [RecordedChannel("one"), RecordedChannel("two")])
    assert log.sent(ALERT.key).channels == ("one", "two")
    assert all(json.loads(line) for line in file.read_text().splitlines())


def test_nothing_is_sent_that_could_not_be_remembered(tmp_path):
    (tmp_path / "alerts").write_text("a file where the folder should be")
    channel = RecordedChannel()
    with pytest.raises(AlertLogUnusable, match=r"cannot be used: .*[Ff]ile exists"):
        AlertLog(tmp_path / "alerts").deliver(ALERT, [channel])
    assert channel.alerts == []


@pytest.mark.slow
def test_a_disk_that_fills_up_between_attempts_does_not_repeat_the_alert(tmp_path, processes):
    """The limit on the size of a file stands for the disk: the process gets the same error, at the same write."""
    log, bad = AlertLog(tmp_path), RecordedChannel("bad", refusals=1)
    with pytest.raises(AlertNotDelivered):
        log.deliver(ALERT, [bad])
    outcomes = processes.SimpleQueue()
    worker = processes.Process(target=_deliver_on_a_full_disk, args=(tmp_path, outcomes))
    worker.start()
    worker.join(30)
    assert _all_of(outcomes) == [("AlertLogUnusable", os.strerror(errno.EFBIG), 0)]
    assert log.deliver(ALERT, [bad])


def test_a_damaged_record_is_an_error_that_says_what_to_do(log, tmp_path):
    log.deliver(ALERT, [RecordedChannel()])
    [file] = (tmp_path / "alerts").iterdir()
    file.write_bytes(b"\x00\x00\n")
    with pytest.raises(AlertLogUnusable, match=r"is damaged\. Delete it"):
        log.deliver(ALERT, [RecordedChannel()])
    with pytest.raises(AlertLogUnusable):
        log.recent()


def test_recent_alerts_come_newest_first_with_those_not_yet_delivered(log):
    assert log.recent() == []
    log.deliver(ALERT, [RecordedChannel()])
    time.sleep(0.02)
    with pytest.raises(AlertNotDelivered):
        log.deliver(OTHER, [RecordedChannel(refusals=1)])
    assert [(a.key, a.channels) for a in log.recent()] == [(OTHER.key, ()), (ALERT.key, ("recorded",))]
    assert [a.key for a in log.recent(limit=1)] == [OTHER.key]
    assert log.sent("never/tried") is None


class _InterruptedChannel(AlertChannel):
    id = "interrupted"

    def send(self, alert):
        raise KeyboardInterrupt


def test_an_interrupted_attempt_leaves_no_trace_of_the_channel(log):
    with pytest.raises(KeyboardInterrupt):
        log.deliver(ALERT, [_InterruptedChannel()])
    assert log.sent(ALERT.key).channels == ()
    assert log.deliver(ALERT, [RecordedChannel()])


def _deliver(folder, port, outcomes, together=None):
    channel = AppriseChannel(f"json://127.0.0.1:{port}/?rto=60", timeout=60)
    if together:
        together.wait(60)
    outcomes.put(AlertLog(folder).deliver(ALERT, [channel]))


def _deliver_on_a_full_disk(folder, outcomes):
    import resource
    import signal

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    [file] = folder.iterdir()
    resource.setrlimit(resource.RLIMIT_FSIZE, (file.stat().st_size + 10,) * 2)
    channel = RecordedChannel("bad")
    try:
        AlertLog(folder).deliver(ALERT, [channel])
    except AlertLogUnusable as error:
        outcomes.put((type(error).__name__, error.args[0].split(": ")[1].split(". ")[0], len(channel.alerts)))


def _all_of(outcomes):
    found = []
    while not outcomes.empty():
        found.append(outcomes.get())
    return found


def _wait_for(seen, seconds=20.0):
    give_up_at = time.monotonic() + seconds
    while not seen():
        assert time.monotonic() < give_up_at
        time.sleep(0.02)
