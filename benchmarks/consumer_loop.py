"""What everybody writes first: a consumer that scores a message at a time, and publishes each prediction.

Belongs here: that loop, as plain as it is written in a hundred tutorials. Does not: anything of ours.
"""

import json
import time
from typing import Any

import pandas as pd
from confluent_kafka import Consumer, Producer


def messages_per_second(bootstrap: str, source: str, target: str, model: Any, messages: int) -> float:
    """Consume, decode, `predict_proba`, produce; the clock begins with the first message."""
    consumer = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": f"loop-{time.time_ns()}", "auto.offset.reset": "earliest"}
    )
    consumer.subscribe([source])
    producer = Producer({"bootstrap.servers": bootstrap})
    done, started = 0, 0.0
    while done < messages:
        message = consumer.poll(1.0)
        if message is None or message.error():
            continue
        started = started or time.perf_counter()
        record = json.loads(message.value() or b"{}")
        probability = float(model.predict_proba(pd.DataFrame([record]))[0, 1])
        prediction = {"customerID": record["customerID"], "churn_probability": probability}
        producer.produce(target, json.dumps(prediction), record["customerID"])
        producer.poll(0)
        done += 1
    producer.flush()
    taken = time.perf_counter() - started
    consumer.close()
    return messages / taken
