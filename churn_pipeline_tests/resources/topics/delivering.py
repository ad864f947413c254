"""A publisher in memory whose messages arrive.

Belongs here: the way from publisher to topic in one process. Does not: brokers.
"""

from churn_pipeline.resources.topics.memory import MemoryPublisher


class DeliveringPublisher(MemoryPublisher):
    """Puts what it publishes into a topic, and can die once it has.

    Attributes:
        places: of these messages, in order.
    """

    def __init__(self, topic):
        super().__init__()
        self.topic = topic
        self.places = []
        self.die_afterwards = False

    def publish(self, batch, messages):
        before = len(self.messages)
        count = super().publish(batch, messages)
        for number, message in enumerate(self.messages[before:]):
            partition = number % 2
            self.places.append((partition, self.topic.append(message.value, None, partition, headers=message.headers)))
        if self.die_afterwards:
            raise OSError("the machine is gone")
        return count
