"""The specification's public names."""

from unittest.mock import MagicMock

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from churn_pipeline.inference import (
    ModelBackend,
    SklearnBackend,
    SparkBackend,
    get_backend_info,
    load_model,
    predict,
)

NUMBERS = ["tenure", "MonthlyCharges", "TotalCharges"]
CUSTOMER = {
    "customerID": "0001-A", "gender": "Female", "SeniorCitizen": 0, "Partner": "Yes", "Dependents": "No",
    "tenure": 12, "PhoneService": "Yes", "MultipleLines": "No", "InternetService": "DSL", "OnlineSecurity": "Yes",
    "OnlineBackup": "No", "DeviceProtection": "No", "TechSupport": "No", "StreamingTV": "No",
    "StreamingMovies": "No", "Contract": "One year", "PaperlessBilling": "No", "PaymentMethod": "Mailed check",
    "MonthlyCharges": 50.0, "TotalCharges": "600.0",
}  # fmt: skip


@pytest.fixture
def training() -> tuple[pd.DataFrame, np.ndarray]:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({name: rng.uniform(0, 100, 200) for name in NUMBERS})
    return frame, (frame["tenure"] < 50).to_numpy().astype(int)


@pytest.fixture
def model_file(tmp_path, training):
    frame, label = training
    path = tmp_path / "model.joblib"
    joblib.dump(make_pipeline(StandardScaler(), LogisticRegression()).fit(frame, label), path)
    return str(path)


def test_a_model_file_scores_a_dict_a_list_of_dicts_and_a_frame_alike(model_file, training):
    backend = load_model("sklearn", model_file)
    records = training[0].head(3)
    labels, probabilities = predict(backend, records)
    assert probabilities == pytest.approx(joblib.load(model_file).predict_proba(records)[:, 1], abs=1e-12)
    assert predict(backend, records.to_dict("records")) == (labels, probabilities)
    assert predict(backend, records.iloc[0].to_dict()) == (labels[:1], probabilities[:1])
    assert labels == [int(p >= 0.5) for p in probabilities]


def test_text_charges_are_understood_and_blank_ones_are_missing():
    seen = []

    class Watching:
        def predict_proba(self, frame):
            seen.append(frame)
            return np.full((len(frame), 2), 0.5)

    predict(Watching(), [CUSTOMER, {**CUSTOMER, "TotalCharges": " "}])
    assert seen[0]["TotalCharges"].tolist()[0] == 600.0
    assert np.isnan(seen[0]["TotalCharges"].tolist()[1])


def test_a_whole_record_that_breaks_the_contract_is_refused_without_showing_it():
    backend = SklearnBackend("m.pkl")
    backend.model = MagicMock(predict_proba=MagicMock(return_value=np.array([[0.3, 0.7]])))
    with pytest.raises(ValueError, match="tenure below minimum") as caught:
        predict(backend, {**CUSTOMER, "tenure": -17})
    assert "-17" not in str(caught.value)


def test_anything_with_predict_proba_may_be_the_model():
    backend = SklearnBackend("m.pkl")
    backend.model = MagicMock()
    backend.model.predict_proba.return_value = np.array([[0.3, 0.7]])
    assert predict(backend, CUSTOMER) == ([1], [0.7])
    backend.model.predict_proba.assert_called_once()


@pytest.mark.parametrize("positive, classes", [("Yes", ["No", "Yes"]), ("Yes", ["Yes", "_No"]), (1, [0, 1])])
def test_the_order_of_classes_is_respected(training, positive, classes):
    frame, label = training
    negative = next(c for c in classes if c != positive)
    fitted = LogisticRegression(max_iter=1000).fit(frame, np.where(label == 1, positive, negative))
    _, probabilities = predict(fitted, frame)
    expected = fitted.predict_proba(frame)[:, list(fitted.classes_).index(positive)]
    assert probabilities == pytest.approx(expected, abs=1e-12)


def test_a_preprocessor_runs_first(tmp_path, training):
    frame, label = training
    scaler = StandardScaler().fit(frame)
    joblib.dump(scaler, tmp_path / "pre.joblib")
    joblib.dump(LogisticRegression().fit(scaler.transform(frame), label), tmp_path / "m.joblib")
    backend = load_model("sklearn", str(tmp_path / "m.joblib"), preprocessor_path=str(tmp_path / "pre.joblib"))
    _, probabilities = predict(backend, frame)
    assert probabilities == pytest.approx(backend.model.predict_proba(scaler.transform(frame))[:, 1], abs=1e-12)
    info = get_backend_info(backend)
    assert info["has_preprocessor"] and info["preprocessor_path"].endswith("pre.joblib")


def test_columns_are_put_in_the_models_order_and_extra_ones_are_left_out(model_file, training):
    backend = load_model("sklearn", model_file)
    shuffled = training[0][NUMBERS[::-1]].assign(customerID="x")
    assert predict(backend, shuffled) == predict(backend, training[0])


def test_a_missing_column_is_named(model_file):
    with pytest.raises(ValueError, match="lack 'MonthlyCharges', 'TotalCharges'"):
        predict(load_model("sklearn", model_file), {"tenure": 3})


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"Model file not found: .*nowhere\.pkl"):
        load_model("sklearn", str(tmp_path / "nowhere.pkl"))


def test_a_file_that_is_no_model_says_what_to_do(tmp_path):
    (tmp_path / "m.pkl").write_bytes(b"no model")
    with pytest.raises(ValueError, match="cannot be read"):
        load_model("sklearn", str(tmp_path / "m.pkl"))


@pytest.mark.parametrize("features", [pd.DataFrame(), [], {}])
def test_no_records_are_an_error(features):
    with pytest.raises(ValueError, match="Features DataFrame is empty"):
        predict(MagicMock(), features)


@pytest.mark.parametrize("features", ["text", 3, [1, 2], None])
def test_features_of_another_kind_are_an_error(features):
    with pytest.raises(ValueError, match="Invalid features type: "):
        predict(MagicMock(), features)


def test_an_unloaded_model_is_an_error():
    with pytest.raises(ValueError, match=r"Model not loaded\. Call load\(\) first\."):
        predict(SklearnBackend("m.pkl"), CUSTOMER)


def test_an_unknown_backend_is_an_error():
    with pytest.raises(ValueError, match=r"Invalid backend type: torch\. Must be 'sklearn' or 'spark'"):
        load_model("torch", "m.pkl")


def test_spark_without_a_fallback_says_so():
    with pytest.raises(ValueError, match="no fallback path specified"):
        load_model("spark", "folder")


def test_spark_takes_its_fallback_and_says_so(model_file, training):
    backend = load_model("spark", "folder", fallback_path=model_file)
    assert isinstance(backend, SparkBackend) and isinstance(backend, ModelBackend)
    assert backend.using_fallback and backend.fallback_backend is not None
    assert predict(backend, training[0]) == predict(load_model("sklearn", model_file), training[0])
    info = get_backend_info(backend)
    assert info["using_fallback"] is True and info["fallback_path"] == model_file
    assert (info["fallback_cause"], info["scored_by"], info["model_type"]) == ("model_missing", "sklearn", "Pipeline")


def test_backend_info_of_an_unloaded_model_has_no_type():
    info = get_backend_info(SklearnBackend("m.pkl"))
    assert info == {
        "backend_type": "sklearn",
        "model_path": "m.pkl",
        "model_type": None,
        "has_preprocessor": False,
        "preprocessor_path": None,
    }


@pytest.mark.parametrize("estimator", ["logistic_regression", "gradient_boosting"])
def test_one_record_is_scored_as_the_model_scores_it_without_building_a_frame(tmp_path, estimator, monkeypatch):
    from churn_pipeline import inference
    from churn_pipeline.contract.definition import Contract
    from churn_pipeline.kernel.frame import frame
    from churn_pipeline.reference_sample import reference_sample
    from churn_pipeline.training.estimators import pipeline, signature

    contract = Contract.load("telco")
    rows = frame(reference_sample(contract, 500), signature(contract))
    churned = np.random.default_rng(0).integers(0, 2, 500)
    path = tmp_path / "whole.joblib"
    joblib.dump(pipeline(contract, estimator).fit(rows, churned), path)
    backend = load_model("sklearn", str(path))
    records = [CUSTOMER, {**CUSTOMER, "TotalCharges": None}, {**CUSTOMER, "tenure": 500, "MonthlyCharges": 3}]
    slow = [SklearnBackend(str(path)) for _ in records]
    for one in slow:
        one.model = backend.model
    wanted = [predict(one, [record]) for one, record in zip(slow, records, strict=True)]
    monkeypatch.setattr(inference, "frame_of", None)  # from here on a frame would be an error
    for record, (labels, probabilities) in zip(records, wanted, strict=True):
        found = predict(backend, record)
        assert found[0] == labels
        assert found[1] == pytest.approx(probabilities, abs=1e-12)
