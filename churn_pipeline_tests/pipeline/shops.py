"""A topic that the real job scores in this process, from tick to alert."""

import json
from collections import Counter

import dagster as dg

from churn_pipeline.assets.published import Publication
from churn_pipeline.batches import Batch
from churn_pipeline.definitions import build_defs
from churn_pipeline.io_managers.topic_batches import CustomerTopic, PlanningRules, TopicBatches
from churn_pipeline.resources.alert_channels import RecordedChannel
from churn_pipeline.resources.alert_log import AlertLog
from churn_pipeline.resources.alerting import Alerts
from churn_pipeline.resources.customer_sources.json_messages import JsonMessages
from churn_pipeline.resources.customer_sources.topic_messages import TopicSource
from churn_pipeline.resources.topics.memory import MemoryPublisher, MemoryTopic
from churn_pipeline.sample import sample
from churn_pipeline.sensors.batch_alerts import batch_alerts
from churn_pipeline.sensors.customer_batches import customer_batches
from churn_pipeline_tests.builders import rows_of


class Shop:
    """A topic of two partitions, scored by the real job on the tables of a trained home."""

    def __init__(self, deployment, instance):
        self.deployment, self.instance = deployment, instance
        self.topic = MemoryTopic("customers", partitions=2)
        self.publisher = MemoryPublisher()
        self.batches = TopicBatches(self.topic, deployment.table_store(), PlanningRules())
        self.customers = iter(sample(deployment.contract(), 500, seed=7).to_pylist())
        publication = Publication(self.publisher, "predictions", "dead_letters", "churn", lambda _: self.topic)
        self.resources = {
            "customer_topic": CustomerTopic(self.batches, attempts=3),
            "customer_source": lambda _: TopicSource(
                self.topic, self.batches, lambda contract, label: JsonMessages(contract, with_label=label).rows
            ),
            "publication": publication,
        }
        self.channel = RecordedChannel()
        self.cursor = None

    def fill(self, count, partition=0, broken=0):
        for _ in range(count):
            self.topic.append(json.dumps(next(self.customers)).encode(), partition=partition)
        for _ in range(broken):
            self.topic.append(b'{"customerID": "b', partition=partition)

    def tick(self):
        resources = {"customer_topic": self.resources["customer_topic"]}
        result = customer_batches(
            dg.build_sensor_context(instance=self.instance, resources=resources, cursor=self.cursor)
        )
        self.cursor = result.cursor
        return result.run_requests

    def run(self, request, **more):
        """What the daemon does with a request, in this process."""
        definitions = build_defs(self.deployment, **{**self.resources, **more})
        return definitions.resolve_job_def("score_customers").execute_in_process(
            run_config=request.run_config, tags=request.tags, instance=self.instance, raise_on_error=False
        )

    def alert(self):
        """What the sensor of alerts does at a tick."""
        alerts = Alerts(
            AlertLog(self.deployment.settings.folder / "alerts"), [self.channel], "dollars", "http://dagster"
        )
        resources = {"table_store": self.deployment.table_store(), "alerts": alerts}
        batch_alerts(dg.build_sensor_context(instance=self.instance, resources=resources))

    def score(self):
        """Tick and run until nothing is asked for; how many runs there were."""
        count = 0
        while requests := self.tick():
            for request in requests:
                assert self.run(request).success
                count += 1
        return count

    def rows(self, table):
        return rows_of(self.deployment, table)

    def places(self):
        """Every offset, and how often it is in predictions, rejected or unscored."""
        tables = ("churn_predictions", "rejected_customers", "unscored_customers")
        return Counter((row["source_partition"], row["source_position"]) for name in tables for row in self.rows(name))

    def ranges(self):
        return sorted(
            (partition, *bounds)
            for row in self.rows("scored_batches")
            for partition, bounds in Batch.from_json(json.loads(row["batch"])).offsets.items()
        )

    def published(self, topic):
        return [dict(m.headers)["source"].decode() for m in self.publisher.messages if m.topic == topic]
