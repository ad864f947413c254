import hashlib
import shutil
import socket
import sqlite3
import threading
import time
import zipfile

import pytest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from churn_pipeline.contract.definition import Contract
from churn_pipeline.kernel.classes import ClassesUnclear
from churn_pipeline.kernel.model_version import ModelInput
from churn_pipeline.resources.mlflow_connection import RegistryUnreachable
from churn_pipeline.resources.mlflow_registry import MlflowRegistry
from churn_pipeline.resources.model_loading import ModelCorrupted, PickleNotVouched, TypeNotTrusted
from churn_pipeline.resources.model_registry import (
    InMemoryRegistry,
    ModelReferenceInvalid,
    NoModelYet,
    Reference,
    RegisteredModelNotFound,
    ThresholdInvalid,
    UnknownAlias,
    UnknownVersion,
)
from churn_pipeline.resources.model_signature import ContractMismatch, SignatureMissing
from churn_pipeline_tests.resources.mlflow_models import SHOP, fitted, register, registry, shoppers, tracking

INPUTS = (ModelInput("age", "double"), ModelInput("spend", "double", required=False))


class AnyRun:
    mlflow_run_id = "run"


@pytest.fixture(params=["memory", "mlflow"])
def a_registry(request):
    return InMemoryRegistry() if request.param == "memory" else registry()


def keep(into, name, estimator=None, inputs=INPUTS, **tags):
    """Register by the port, as training does."""
    options = {"inputs": inputs, "example": shoppers()[0].head(3), "tags": tags, "description": "A test's."}
    if isinstance(into, InMemoryRegistry):
        return into.register(name, estimator or fitted(), run=AnyRun(), **options)
    with tracking().run(f"run of {name} {time.time_ns()}", "train") as run:
        return into.register(name, estimator or fitted(), run=run, **options)


def test_a_version_is_found_by_alias_and_by_number_and_scores_as_it_did(a_registry):
    frame, _ = shoppers()
    estimator = fitted()
    keep(a_registry, "roundtrip", estimator, threshold="0.3")
    keep(a_registry, "roundtrip", threshold="0.7")
    a_registry.set_alias("roundtrip", "champion", "1")
    by_alias, by_number = (a_registry.resolve("roundtrip", which, SHOP) for which in ("champion", "2"))
    assert (by_alias.version, by_alias.alias, by_alias.threshold) == ("1", "champion", 0.3)
    assert (by_number.version, by_number.alias, by_number.threshold) == ("2", None, 0.7)
    assert (by_alias.uri, by_alias.flavour, by_alias.inputs) == ("models:/roundtrip/1", "sklearn", INPUTS)
    assert (by_alias.classes, by_alias.positive) == (("0", "1"), 1)
    assert (a_registry.load(by_alias).predict_proba(frame) == estimator.predict_proba(frame)).all()


def test_an_alias_moves_and_tags_are_added(a_registry):
    keep(a_registry, "moving")
    assert a_registry.version_of_alias("moving", "champion") is None
    assert a_registry.version_of_alias("nobody", "champion") is None
    a_registry.set_alias("moving", "champion", keep(a_registry, "moving"))
    a_registry.tag("moving", "1", {"verdict": "kept_back"})
    assert a_registry.version_of_alias("moving", "champion") == "2"
    assert a_registry.find("moving", "1").tags["verdict"] == "kept_back"
    assert a_registry.find("moving", "1").description == "A test's."


def test_a_name_alias_or_version_that_is_not_there_says_what_is(a_registry):
    keep(a_registry, "shop_model")
    a_registry.set_alias("shop_model", "champion", "1")
    with pytest.raises(RegisteredModelNotFound, match=r"no model 'shop_modle' \(nearest: 'shop_model'\)"):
        a_registry.find("shop_modle", "champion")
    with pytest.raises(UnknownAlias, match=r"'champoin' \(nearest: 'champion'\).*champion \(version 1\)"):
        a_registry.find("shop_model", "champoin")
    with pytest.raises(UnknownVersion, match=r"no version 99\. Its newest is 1"):
        a_registry.find("shop_model", "99")


@pytest.mark.parametrize(
    ("text", "alias", "version", "name"),
    [
        ("champion", "champion", None, "m"),
        ("@champion", "champion", None, "m"),
        ("3", None, "3", "m"),
        ("@3", "3", None, "m"),
        ("n@champion", "champion", None, "n"),
        ("n/3", None, "3", "n"),
        ("models:/n@champion", "champion", None, "n"),
        ("models:/n/3", None, "3", "n"),
    ],
)
def test_a_reference_is_read_in_every_way_people_write_it(text, alias, version, name):
    assert Reference.parse("m", text) == Reference(name, alias, version)


@pytest.mark.parametrize("text", ["", "n/latest", "a b", "runs:/x/y", "n@", "models:/n/3/4"])
def test_a_reference_that_names_no_version_says_how_to_write_one(text):
    with pytest.raises(ModelReferenceInvalid, match="models:/m@champion"):
        Reference.parse("m", text)


def test_an_empty_registry_says_how_to_train_and_is_not_made_by_looking(tmp_path):
    began = time.monotonic()
    with pytest.raises(NoModelYet, match=r"no model yet.*churn-pipeline train FILE"):
        MlflowRegistry(f"sqlite:///{tmp_path}/deep/mlflow.db").resolve("churn_model", "champion", SHOP)
    assert time.monotonic() - began < 1
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(NoModelYet):
        InMemoryRegistry().find("churn_model", "champion")


def test_contract_and_signature_are_compared_in_one_sentence_a_difference(a_registry):
    keep(a_registry, "mismatch")
    other = Contract.model_validate(
        {
            "name": "other",
            "description": "Another shop.",
            "id": {"column": "customer", "description": "Names the customer."},
            "features": {
                "spend": {"type": "category", "allowed": ["low", "high"], "description": "How much."},
                "ages": {"type": "number", "description": "Years."},
                "city": {"type": "text", "description": "Where."},
            },
        }
    )
    with pytest.raises(ContractMismatch) as raised:
        a_registry.resolve("mismatch", "1", other)
    text = str(raised.value)
    assert "The model takes 'age', which the contract does not give (nearest: 'ages')." in text
    assert "The model takes 'spend' as double, and the contract gives a category." in text
    assert "The contract gives 'city', which the model does not take." in text


def test_a_model_whose_columns_have_no_names_is_refused():
    register("unnamed", fitted(), signature=None, input_example=None)
    with pytest.raises(SignatureMissing, match="infer_signature"):
        registry().resolve("unnamed", "champion", SHOP)


@pytest.mark.parametrize("threshold", ["high", "1.5", "nan", ""])
def test_a_threshold_that_is_no_probability_is_refused(threshold):
    memory = InMemoryRegistry()
    keep(memory, "m", threshold=threshold)
    with pytest.raises(ThresholdInvalid, match="tag threshold"):
        memory.resolve("m", "1", SHOP)


def test_a_model_with_yes_and_no_as_classes_is_understood():
    register("yes_no", fitted({True: "Yes", False: "No"}))
    model = registry().resolve("yes_no", "champion", SHOP)
    assert (model.classes, model.positive, model.threshold) == (("No", "Yes"), 1, 0.5)


def test_a_model_whose_churn_class_comes_first_asks_for_a_tag_and_then_is_understood():
    labels = {True: "Churned", False: "Stayed"}
    register("unclear", fitted(labels))
    with pytest.raises(ClassesUnclear, match="tag positive_class"):
        registry().resolve("unclear", "champion", SHOP)
    registry().tag("unclear", "1", {"positive_class": "Churned"})
    model = registry().resolve("unclear", "champion", SHOP)
    assert (model.classes, model.positive) == (("Churned", "Stayed"), 0)
    frame, left = shoppers()
    assert registry().load(model).predict_proba(frame)[left, model.positive].mean() > 0.5


def test_a_server_that_is_not_there_is_named_at_once():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    for uri in (f"http://127.0.0.1:{port}", f"postgresql://ann:secret@127.0.0.1:{port}/mlflow"):
        began = time.monotonic()
        with pytest.raises(RegistryUnreachable, match=rf"127\.0\.0\.1:{port}") as raised:
            MlflowRegistry(uri, timeout_seconds=2).resolve("churn_model", "champion", SHOP)
        assert time.monotonic() - began < 5
        assert "secret" not in str(raised.value)


def test_a_server_that_never_answers_is_given_up_after_the_time_set():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        accepted = []
        threading.Thread(target=lambda: accepted.append(silent.accept()), daemon=True).start()
        began = time.monotonic()
        with pytest.raises(RegistryUnreachable, match=r"no answer within 0\.5 s"):
            MlflowRegistry(f"http://127.0.0.1:{silent.getsockname()[1]}", timeout_seconds=0.5).names()
        assert time.monotonic() - began < 3
        for connection, _ in accepted:
            connection.close()


def test_a_file_that_is_no_database_is_named_at_once(tmp_path):
    (tmp_path / "mlflow.db").write_bytes(b"not a database at all" * 100)
    began = time.monotonic()
    with pytest.raises(RegistryUnreachable, match=r"mlflow\.db is not a database"):
        MlflowRegistry(f"sqlite:///{tmp_path}/mlflow.db").find("churn_model", "champion")
    assert time.monotonic() - began < 1


def test_a_database_that_is_locked_by_a_writer_can_still_be_asked():
    keep(registry(), "busy")
    with sqlite3.connect(tracking().tracking_uri.removeprefix("sqlite:///")) as other:
        other.execute("BEGIN IMMEDIATE")
        assert registry().find("busy", "1").version == "1"


def test_a_tag_of_the_version_vouches_for_a_pickle_and_no_tag_is_no():
    folder = register("pickled", fitted(), serialization_format="cloudpickle")
    with pytest.raises(PickleNotVouched):
        registry().resolve("pickled", "champion", SHOP)
    registry().tag("pickled", "1", {"pickle_sha256": hashlib.sha256((folder / "model.pkl").read_bytes()).hexdigest()})
    assert registry().resolve("pickled", "champion", SHOP).version == "1"


def test_files_that_are_gone_or_cut_off_name_the_version():
    folder = register("damaged", fitted())
    (folder / "model.skops").write_bytes((folder / "model.skops").read_bytes()[:1000])
    with pytest.raises(ModelCorrupted, match=r"damaged@champion \(version 1\)"):
        registry().resolve("damaged", "champion", SHOP)
    shutil.rmtree(folder)
    with pytest.raises(ModelCorrupted, match=r"damaged@champion \(version 1\)"):
        registry().resolve("damaged", "champion", SHOP)


def test_an_estimator_is_read_once_a_process_and_a_changed_tag_counts_at_once():
    keep(registry(), "cached")
    first = registry().load(registry().resolve("cached", "1", SHOP))
    registry().tag("cached", "1", {"threshold": "0.9"})
    again = registry().resolve("cached", "1", SHOP)
    assert again.threshold == 0.9
    assert registry().load(again) is first


def test_what_the_project_registers_is_skops():
    keep(registry(), "ours")
    folder = registry()._files(registry().find("ours", "1"))
    assert zipfile.is_zipfile(folder / "model.skops")
    assert "serialization_format: skops" in (folder / "MLmodel").read_text()


def reverse(values):
    return -values


def test_a_model_that_would_be_refused_later_is_not_registered():
    estimator = make_pipeline(FunctionTransformer(reverse), fitted()).fit(*shoppers())
    with pytest.raises(TypeNotTrusted, match="would not be loaded"):
        keep(registry(), "never", estimator)
    assert "never" not in registry().names()
