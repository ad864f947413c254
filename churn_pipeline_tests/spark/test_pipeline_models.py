"""Spark ML pipelines of all sorts: scored as they score themselves, with rows in order and none lost."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from churn_pipeline.inference import RecordsNotScored, SparkUnavailable, get_backend_info, load_model, predict
from churn_pipeline.spark.pipeline_models import NoProbabilityColumn, PipelineClassifier, SparkModelUnreadable
from churn_pipeline.spark.sessions import open_session

WORDS, NUMBERS = ["plan", "city"], ["visits", "spend"]


def visitors(rows: int, seed: int = 0, **changes) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "plan": rng.choice(["gold", "silver", "none"], rows, p=[0.2, 0.5, 0.3]),
            "city": rng.choice(["Rome", "Oslo"], rows),
            "visits": rng.integers(0, 50, rows).astype(float),
            "spend": rng.normal(100, 30, rows),
        }
    )
    return frame.assign(**changes)


def left(frame: pd.DataFrame) -> np.ndarray:
    score = (frame["plan"] == "none") * 2 - frame["visits"] / 20 + np.random.default_rng(5).normal(0, 0.5, len(frame))
    return np.where(score > 0, "Yes", "No")


@pytest.fixture(scope="module")
def session(spark):
    return open_session(spark).spark


@pytest.fixture(scope="module")
def fitted(session):
    """Fits a pipeline that ends in a classifier, with the label indexed as the commonest first."""
    from pyspark.ml import Pipeline
    from pyspark.ml.feature import OneHotEncoder, StringIndexer, VectorAssembler

    def fit(classifier, invalid="error", label=True, front=()):
        codes, hot = [f"{w}_code" for w in WORDS], [f"{w}_hot" for w in WORDS]
        stages = [StringIndexer(inputCol="left", outputCol="label", stringOrderType="alphabetDesc")] if label else []
        stages += [*front, StringIndexer(inputCols=WORDS, outputCols=codes, handleInvalid=invalid)]
        stages += [OneHotEncoder(inputCols=codes, outputCols=hot, handleInvalid="keep")]
        stages += [VectorAssembler(inputCols=[*hot, *NUMBERS], outputCol="features", handleInvalid=invalid), classifier]
        frame = visitors(800)
        rows = session.createDataFrame(pa.Table.from_pandas(frame.assign(left=left(frame)), preserve_index=False))
        rows = rows if label else rows.selectExpr("*", "CAST(left = 'Yes' AS DOUBLE) AS label")
        return Pipeline(stages=stages).fit(rows)

    return fit


@pytest.fixture
def saved(fitted, tmp_path):
    """Saves a pipeline; its folder."""

    def save(classifier, **options):
        folder = str(tmp_path / "pipeline")
        fitted(classifier, **options).write().overwrite().save(folder)
        return folder

    return save


def classifiers():
    from pyspark.ml import classification as c

    return {
        "logistic": c.LogisticRegression(),
        "forest": c.RandomForestClassifier(numTrees=5, seed=1),
        "boosted": c.GBTClassifier(maxIter=3, seed=1),
        "tree": c.DecisionTreeClassifier(),
        "bayes": c.NaiveBayes(modelType="gaussian", probabilityCol="how_likely"),
        "network": c.MultilayerPerceptronClassifier(layers=[7, 4, 2], maxIter=60, seed=1),
    }


def truth(model, session, frame, positive):
    """What Spark's own rows say, in the order of the frame."""
    rows = model.transform(session.createDataFrame(pa.Table.from_pandas(frame.assign(n=range(len(frame))))))
    column = model.stages[-1].getProbabilityCol()
    found = sorted((row["n"], row[column][positive]) for row in rows.select("n", column).collect())
    return [probability for _, probability in found]


@pytest.mark.parametrize("name", ["logistic", "forest", "boosted", "tree", "bayes", "network"])
def test_any_classifier_is_scored_as_it_scores_itself(fitted, saved, session, name):
    backend = load_model("spark", saved(classifiers()[name]), spark_session=session)
    frame = visitors(300, seed=2)
    labels, probabilities = predict(backend, frame)
    # Yes comes first by the alphabet backwards: the first of the pipeline's classes is churn.
    assert list(PipelineClassifier(backend.model, session).classes_) == ["Yes", "No"]
    assert probabilities == truth(backend.model, session, frame, 0)
    assert labels == [int(p >= 0.5) for p in probabilities] and 0 < sum(labels) < 300
    assert get_backend_info(backend)["scored_by"] == "spark"


def test_a_label_that_was_a_number_counts_one_as_churn(saved, session):
    backend = load_model("spark", saved(classifiers()["logistic"], label=False), spark_session=session)
    frame = visitors(50, seed=2)
    assert predict(backend, frame)[1] == truth(backend.model, session, frame, 1)


def test_one_record_and_a_list_of_records_are_scored_too(saved, session):
    backend = load_model("spark", saved(classifiers()["logistic"]), spark_session=session)
    records = visitors(3).to_dict("records")
    assert predict(backend, records)[1] == [predict(backend, record)[1][0] for record in records]


def test_what_a_stage_was_told_to_keep_is_scored(saved, session):
    backend = load_model("spark", saved(classifiers()["forest"], invalid="keep"), spark_session=session)
    odd = visitors(3, plan=["platinum", None, "gold"])
    assert len(predict(backend, odd)[1]) == 3


@pytest.mark.parametrize("invalid", ["error", "skip"])
def test_a_customer_that_a_stage_refuses_is_no_other_customers_row(fitted, session, invalid):
    classifier = PipelineClassifier(fitted(classifiers()["logistic"], invalid=invalid), session)
    odd = visitors(6, plan=["gold", "platinum", "none", None, "silver", "gold"])
    odd.loc[5, "spend"] = np.nan
    found = classifier.predict_proba(odd)
    assert np.isnan(found).all(axis=1).tolist() == [False, True, False, True, False, True]
    plain = classifier.predict_proba(odd.iloc[[0, 2, 4]].reset_index(drop=True))
    assert (found[[0, 2, 4]] == plain).all()


def test_records_that_a_stage_refuses_are_an_error_that_says_how_many(saved, session):
    backend = load_model("spark", saved(classifiers()["logistic"]), spark_session=session)
    with pytest.raises(RecordsNotScored, match="refused 1 of 2 records, first number 1"):
        predict(backend, visitors(2, plan=["gold", "platinum"]))


def test_no_records_are_no_answer(fitted, session):
    classifier = PipelineClassifier(fitted(classifiers()["logistic"]), session)
    assert classifier.predict_proba(visitors(0)).shape == (0, 2)


def test_a_classifier_without_probabilities_is_refused(saved, session):
    from pyspark.ml.classification import LinearSVC

    with pytest.raises(NoProbabilityColumn, match="ends in LinearSVCModel"):
        load_model("spark", saved(LinearSVC(maxIter=2)), spark_session=session)


# --- what stands in for Spark


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory):
    """A scikit-learn model in a file."""
    import joblib
    from sklearn.compose import make_column_transformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    frame = visitors(400)
    front = make_column_transformer((OneHotEncoder(), WORDS), remainder="passthrough")
    model = make_pipeline(front, LogisticRegression(max_iter=500)).fit(frame, left(frame))
    path = tmp_path_factory.mktemp("stand_in") / "model.joblib"
    joblib.dump(model, path)
    return str(path)


def test_a_pipeline_that_cannot_be_loaded_has_its_fallback(saved, session, stand_in, tmp_path):
    folder = saved(classifiers()["logistic"])
    for file in (tmp_path / "pipeline").rglob("part-*"):
        if "stages" in str(file):
            file.write_text("{")
    with pytest.raises(SparkUnavailable, match="no fallback path"):
        load_model("spark", folder, spark_session=session)
    backend = load_model("spark", folder, fallback_path=stand_in, spark_session=session)
    info = get_backend_info(backend)
    assert (info["using_fallback"], info["fallback_cause"], info["scored_by"]) == (True, "load_failed", "sklearn")
    assert len(predict(backend, visitors(5))[0]) == 5
    with pytest.raises(SparkModelUnreadable, match="Save it again"):
        PipelineClassifier.load(folder, lambda: session)


def test_a_fallback_that_is_not_needed_is_loaded_and_does_not_score(saved, session, stand_in):
    backend = load_model("spark", saved(classifiers()["tree"]), fallback_path=stand_in, spark_session=session)
    frame = visitors(50, seed=4)
    assert not backend.using_fallback and backend.fallback_backend is not None
    assert predict(backend, frame)[1] == truth(backend.model, session, frame, 0)
