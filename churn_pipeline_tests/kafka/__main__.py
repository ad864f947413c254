"""`make kafka`: one node of Apache Kafka on loopback, until Ctrl-C."""

from __future__ import annotations

import argparse
import signal
import sys

from churn_pipeline_tests.kafka.apache_kafka import Broker
from churn_pipeline_tests.kafka.jars import BrokerUnavailable


def main() -> int:
    """Run it in the foreground; 0 after Ctrl-C or SIGTERM, 1 where it cannot run or ended by itself."""
    parser = argparse.ArgumentParser(prog="make kafka", description=__doc__)
    parser.add_argument("--port", type=int, default=9092)
    asked = parser.parse_args()
    # A stopped make must not leave the broker behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with Broker(port=asked.port) as broker:
            print(f"Apache Kafka answers on {broker.bootstrap}. In other terminals:\n")
            print(f"    export KAFKA_BOOTSTRAP_SERVERS={broker.bootstrap}\n")
            print(f"Ctrl-C ends it. What it says is in {broker.log}.", flush=True)
            code = broker.wait()
            print(f"Apache Kafka ended by itself (exit code {code}):\n{broker.last_words()}", file=sys.stderr)
            return 1
    except BrokerUnavailable as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0


if __name__ == "__main__":
    sys.exit(main())
