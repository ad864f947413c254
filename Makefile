# One target a job; `make help` lists them. Everything runs in .venv, from the lock files.
.DEFAULT_GOAL := help
.PHONY: help install install-dev format check test fast kafka demo demo-stream dev spark-cluster bench torture docs lock clean

PYTHON ?= python3
BIN := .venv/bin
UV_VERSION := 0.13.9
CHURN_HOME ?= data/local
KAFKA_PORT ?= 9092
SPARK_PORT ?= 7077
# Bytecode is compiled at install: without it every start is two to three times slower.
INSTALL = $(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(BIN)/uv:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; set PYTHON=")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet uv==$(UV_VERSION)

.venv/.installed: requirements.lock pyproject.toml $(BIN)/uv
	$(INSTALL) --requirement requirements.lock
	$(INSTALL) --no-deps --editable .
	$(BIN)/python -m compileall -q churn_pipeline
	@touch $@

.venv/.installed-dev: requirements-dev.lock .venv/.installed
	$(INSTALL) --requirement requirements-dev.lock
	@touch $@

install: .venv/.installed ## create .venv with what running needs

install-dev: .venv/.installed-dev ## the same, with what developing needs

demo: install ## from nothing to scores, in minutes
	@$(BIN)/churn-pipeline demo

demo-stream: install ## from messages to scores, with a broker and a daemon of its own
	@$(BIN)/churn-pipeline demo-stream

dev: install ## the Dagster UI on http://localhost:3000, with the runs of the demo
	@mkdir -p "$(CHURN_HOME)/dagster" && cp dagster.yaml "$(CHURN_HOME)/dagster/"
	DAGSTER_HOME="$(abspath $(CHURN_HOME))/dagster" $(BIN)/dagster dev -w workspace.yaml

format: install-dev ## rewrite the code in the one format
	$(BIN)/ruff check --fix-only --quiet . && $(BIN)/ruff format .

check: install-dev ## lint, types, import law
	$(BIN)/ruff format --check . && $(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fast: install-dev ## the tests that need a minute
	$(BIN)/pytest -m "not slow"

kafka: install-dev ## Apache Kafka on loopback, until Ctrl-C (Java and Maven, no Docker)
	@$(BIN)/python -m churn_pipeline_tests.kafka --port $(KAFKA_PORT)

spark-cluster: install-dev ## a master of Spark and two workers on loopback, until Ctrl-C (Java)
	@$(BIN)/python -m churn_pipeline_tests.spark.standalone $(SPARK_PORT)

test: check ## lint, types, import law, all tests
	$(BIN)/pytest

bench: install-dev ## measure: ratios in one run
	$(BIN)/python -m benchmarks

torture: install-dev ## a million messages, killed and frozen; the account of every offset (an hour)
	@$(BIN)/python -W ignore -m churn_pipeline_tests.kafka.torture --out "$(CHURN_HOME)/torture"

docs: install-dev ## run every example and command of the documentation
	$(BIN)/pytest churn_pipeline_tests/docs

lock: $(BIN)/uv ## resolve the lock files anew
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-emit-index-url --no-header pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-emit-index-url --no-header pyproject.toml --extra dev -c requirements.lock -o requirements-dev.lock

clean: ## remove everything produced
	rm -rf data/local .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
