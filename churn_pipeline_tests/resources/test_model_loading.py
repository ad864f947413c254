import hashlib
import json
import pickle
import shutil
import sys

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from churn_pipeline.resources import model_loading as loading
from churn_pipeline_tests.resources.mlflow_models import fitted, rewrite_mlmodel, save, shoppers


def double(values):
    return values * 2


class Certain(ClassifierMixin, BaseEstimator):
    """Says twice as much as a probability can."""

    def fit(self, x, y):
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, x):
        return np.full((len(x), 2), 2.0)


def unscaled():
    """A model that fails on every row: what a renamed attribute looks like to a newer scikit-learn."""
    broken = fitted()
    del broken[0].scale_
    return broken


def load(folder, **tags):
    stored = loading.stored_model(folder, tags, "Model m@champion (version 1)", pytest.fail)
    estimator = stored.load()
    stored.check_example(estimator)
    return estimator


def sha256(file):
    return hashlib.sha256(file.read_bytes()).hexdigest()


def test_a_pickle_is_refused_until_the_registry_vouches_for_exactly_this_file(tmp_path):
    folder = save(tmp_path / "m", fitted(), serialization_format="cloudpickle")
    digest = sha256(folder / "model.pkl")
    with pytest.raises(loading.PickleNotVouched, match=f"tag pickle_sha256 .* to {digest}"):
        load(folder)
    frame, _ = shoppers()
    assert (load(folder, pickle_sha256=digest).predict_proba(frame) == fitted().predict_proba(frame)).all()


def test_a_pickle_that_was_swapped_after_it_was_vouched_for_is_not_executed(tmp_path):
    marker = tmp_path / "executed"

    class Malicious:
        def __reduce__(self):
            return marker.touch, ()

    folder = save(tmp_path / "m", fitted(), serialization_format="cloudpickle")
    digest = sha256(folder / "model.pkl")
    (folder / "model.pkl").write_bytes(pickle.dumps(Malicious()))
    with pytest.raises(loading.PickleNotVouched):
        load(folder, pickle_sha256=digest)
    rewrite_mlmodel(folder, lambda m: m["flavors"]["sklearn"].update(serialization_format="skops"))
    with pytest.raises(loading.ModelCorrupted):
        load(folder)
    assert not marker.exists()


def test_a_function_of_somebodys_own_is_refused_until_the_registry_names_it_whatever_the_files_say(tmp_path):
    name = f"{__name__}.double"
    estimator = make_pipeline(FunctionTransformer(double), fitted()).fit(*shoppers())
    folder = save(tmp_path / "m", estimator, skops_trusted_types=["numpy.dtype", name])
    with pytest.raises(loading.TypeNotTrusted, match=f"holds {name}, .*trusted_types.* to '{name}'"):
        load(folder)
    load(folder, trusted_types=name)


@pytest.mark.parametrize(
    ("name", "trusted"),
    [
        ("sklearn.tree._tree.Tree", True),
        ("numpy.dtype", True),
        ("numpy.testing._private.utils.runstring", False),
        ("numpy.load", False),
        ("os.system", False),
        ("sklearn_evil.Tree", False),
        ("numpy.f2py.__main__.main", False),
        ("numpy", False),
    ],
)
def test_classes_of_the_known_packages_are_trusted_and_functions_are_not(name, trusted):
    assert loading.is_trusted_class(name) is trusted


def test_files_that_are_cut_off_are_an_error_that_says_so(tmp_path):
    folder = save(tmp_path / "m", fitted())
    content = (folder / "model.skops").read_bytes()
    for length in (0, len(content) // 2, len(content) - 1):
        (folder / "model.skops").write_bytes(content[:length])
        with pytest.raises(loading.ModelCorrupted, match=r"m@champion \(version 1\) cannot be read"):
            load(folder)
    (folder / "model.skops").unlink()
    with pytest.raises(loading.ModelCorrupted):
        load(folder)


def test_a_byte_that_was_turned_anywhere_never_gives_a_traceback(tmp_path):
    folder = save(tmp_path / "m", fitted())
    content = (folder / "model.skops").read_bytes()
    for position in range(0, len(content), len(content) // 40):
        turned = bytearray(content)
        turned[position] ^= 0xFF
        (folder / "model.skops").write_bytes(turned)
        try:
            load(folder)
        except loading.ModelError:
            continue


@pytest.mark.parametrize("text", [None, "", "[1, 2", "flavors: 3", "flavors: {sklearn: {}}"])
def test_a_description_that_is_missing_or_malformed_is_an_error_that_says_so(tmp_path, text):
    if text is not None:
        (tmp_path / "MLmodel").write_text(text)
    with pytest.raises(loading.ModelCorrupted, match="MLmodel"):
        load(tmp_path)


def test_a_model_file_outside_its_folder_is_not_read(tmp_path):
    folder = save(tmp_path / "m", fitted())
    shutil.copy(folder / "model.skops", tmp_path)
    rewrite_mlmodel(folder, lambda m: m["flavors"]["sklearn"].update(pickled_model="../model.skops"))
    with pytest.raises(loading.ModelCorrupted):
        load(folder)


def test_a_model_of_another_library_is_refused_by_its_name(tmp_path):
    folder = save(tmp_path / "m", fitted())
    rewrite_mlmodel(folder, lambda m: m["flavors"].update(prophet=m["flavors"].pop("sklearn")))
    with pytest.raises(loading.UnsupportedFlavour, match="flavour prophet"):
        load(folder)


def test_a_regressor_is_refused_because_it_gives_no_probabilities(tmp_path):
    with pytest.raises(loading.NoProbabilities, match="predict_proba"):
        load(save(tmp_path / "m", LinearRegression().fit(*shoppers())))


@pytest.mark.parametrize("estimator", [fitted, unscaled])
def test_a_model_of_another_scikit_learn_is_tried_and_where_it_fails_both_versions_are_named(tmp_path, estimator):
    folder = save(tmp_path / "m", estimator())
    rewrite_mlmodel(folder, lambda m: m["flavors"]["sklearn"].update(sklearn_version="1.5.2"))
    if estimator is fitted:
        load(folder)
        (folder / "model.skops").write_bytes(b"what an older one wrote")
    with pytest.raises(loading.ModelTooOld, match=r"saved by scikit-learn 1\.5\.2 .*scikit-learn==1\.5\.2"):
        load(folder)


def test_a_model_that_fails_on_its_own_example_is_refused_without_quoting_it(tmp_path):
    with pytest.raises(loading.ExampleNotScored, match=r"fails on the input example .*AttributeError"):
        load(save(tmp_path / "m", unscaled()))


def test_an_example_that_does_not_fit_the_signature_is_not_quoted(tmp_path):
    folder = save(tmp_path / "m", fitted())
    example = json.loads((folder / "input_example.json").read_text())
    example["data"][0][0] = "ann@example.org"
    (folder / "input_example.json").write_text(json.dumps(example))
    with pytest.raises(loading.ModelCorrupted) as raised:
        load(folder)
    assert "ann" not in str(raised.value)
    assert raised.value.__suppress_context__


def test_scores_that_are_no_probabilities_are_refused(tmp_path):
    name = f"{__name__}.Certain"
    folder = save(tmp_path / "m", Certain().fit(*shoppers()), skops_trusted_types=["numpy.dtype", name])
    with pytest.raises(loading.ExampleNotScored, match="something else than probabilities"):
        load(folder, trusted_types=name)


def test_a_model_without_an_example_is_used_and_the_log_says_so(tmp_path, caplog):
    folder = save(tmp_path / "m", fitted())
    rewrite_mlmodel(folder, lambda m: m.pop("saved_input_example_info"))
    load(folder)
    assert "without an input example" in caplog.text


def test_a_package_that_is_not_installed_is_named_with_its_version(tmp_path):
    (tmp_path / "departed.py").write_text("def double(values):\n    return values * 2\n")
    sys.path.insert(0, str(tmp_path))
    try:
        import departed

        estimator = make_pipeline(FunctionTransformer(departed.double), fitted()).fit(*shoppers())
        options = {"serialization_format": "cloudpickle", "pip_requirements": ["departed==4.7.0", "scikit-learn"]}
        folder = save(tmp_path / "m", estimator, **options)
    finally:
        sys.path.remove(str(tmp_path))
        sys.modules.pop("departed", None)
    with pytest.raises(loading.ModelPackageMissing, match=r"package departed, .*pip install departed==4\.7\.0"):
        load(folder, pickle_sha256=sha256(folder / "model.pkl"))
