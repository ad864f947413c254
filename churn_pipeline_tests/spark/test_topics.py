"""A topic's batch on Spark's workers: the same account of every offset, and the same scores."""

import json

from confluent_kafka import Producer

from churn_pipeline import deployments
from churn_pipeline.resources.customer_sources.json_messages import JsonMessages
from churn_pipeline.resources.customer_sources.topic_messages import TopicSource
from churn_pipeline.sample import sample
from churn_pipeline_tests.builders import instance_of, rows_of, score
from churn_pipeline_tests.pipeline.shops import Shop
from churn_pipeline_tests.spark.test_engines import found


def test_ranges_of_offsets_are_read_by_workers(deployment, spark, tmp_path):
    settings = deployment.settings
    here, there = (
        deployments.test(
            tmp_path / name, tracking_uri=settings.tracking_uri, backend=backend, spark_master=spark.master
        )
        for name, backend in (("here", "sklearn"), ("there", "spark"))
    )
    accounts = []
    for one in (here, there):
        with instance_of(one) as instance:
            shop = Shop(one, instance)
            shop.resources["customer_source"] = lambda _, shop=shop: TopicSource(
                shop.topic, shop.batches, read_messages, may_be_sent=True
            )
            shop.fill(120, partition=0, broken=3)
            shop.fill(80, partition=1, broken=1)
            assert shop.score() == 1
            accounts.append(shop.places())
    assert len(accounts[0]) == 204 and set(accounts[0].values()) == {1} and accounts[0] == accounts[1]
    assert {row["backend"] for row in rows_of(there, "churn_predictions")} == {"spark"}
    own = {"batch_id", "batch_date", "event_at", "source_time"}
    for table in ("customers", "churn_predictions", "rejected_customers"):
        rows = [[{k: v for k, v in row.items() if k not in own} for row in found(one, table)] for one in (here, there)]
        assert rows[0] == rows[1], table
    assert {row["raw"] for row in found(there, "rejected_customers")} == {b'{"customerID": "b'}


def test_workers_read_a_real_topic_to_its_end(deployment, spark, kafka_broker, make_topic, tmp_path):
    topic = make_topic(partitions=3)
    producer = Producer({"bootstrap.servers": kafka_broker.bootstrap})
    for record in sample(deployment.contract(), 600, seed=4).to_pylist():
        producer.produce(topic, json.dumps(record), record["customerID"])
    producer.produce(topic, b"no record", "nobody")
    assert producer.flush(30) == 0
    there = deployments.test(
        tmp_path / "there",
        tracking_uri=deployment.settings.tracking_uri,
        backend="spark",
        spark_master=spark.master,
        kafka_servers=kafka_broker.bootstrap,
        kafka_topic=topic,
    )
    row = score(there, source=f"kafka:{topic}").row
    assert (row.backend, row.rows_scored, row.rows_rejected) == ("spark", 600, 1)
    assert len({(r["source_partition"], r["source_position"]) for r in rows_of(there, "churn_predictions")}) == 600


def read_messages(contract, label):
    """As a deployment reads messages without an envelope."""
    return JsonMessages(contract, with_label=label).rows
