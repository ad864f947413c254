"""The whole service, tortured against Apache Kafka, and the account of every offset that is left afterwards.

`python -m churn_pipeline_tests.kafka.torture --out FOLDER`; docs/exactly-once.md says what is done and how to check it.
"""
