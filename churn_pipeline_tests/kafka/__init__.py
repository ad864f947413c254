"""Apache Kafka for tests and for `make kafka`, without Docker, and the tests that prove it."""
