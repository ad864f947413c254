"""Job files: merged left to right, and strict."""

from pathlib import Path

import pytest
import yaml

from churn_pipeline.inference_job import FilesReader, InferenceJob, job_schema, load_job
from churn_pipeline.inference_job.job_files import (
    JobFileMalformed,
    JobFileMissing,
    JobInvalid,
    JobOverrideMalformed,
)

CONFS = Path(__file__).parents[2] / "confs"


@pytest.fixture
def write(tmp_path):
    def written(name: str, text: str) -> Path:
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return written


@pytest.fixture
def base(write):
    return write("base.yaml", "KIND: InferenceJob\ninputs: {KIND: FilesReader, path: a.csv, limit: 5}\n")


def test_the_shipped_files_are_a_job_and_an_overlay():
    plain = load_job([CONFS / "inference.yaml"])
    assert plain == InferenceJob(inputs=FilesReader(path="data/sample/customers.csv"))
    trial = load_job([CONFS / "inference.yaml", CONFS / "local.yaml"])
    assert trial.inputs.limit == 100 and trial.inputs.path == "data/sample/customers.csv"
    assert not trial.alerts_service.enabled


def test_later_files_win_and_overrides_win_over_files(base, write):
    over = write("over.yaml", "inputs: {limit: 7}\nalias_or_version: 3\n")
    assert load_job([base, over]).inputs.limit == 7
    assert load_job([over, base]).inputs.limit == 5
    found = load_job([base, over], ["inputs.limit=9", "reject_limit=0.05", 'contract="telco"', "backend=auto"])
    assert (found.inputs.limit, found.inputs.path, found.alias_or_version) == (9, "a.csv", 3)
    assert (found.reject_limit, found.contract, found.backend) == (0.05, "telco", "auto")


def test_an_override_may_hold_a_mapping_and_may_take_a_value_away(base):
    found = load_job([base], ["inputs={path: b.csv}", "inputs.limit=null"])
    assert found.inputs == FilesReader(path="b.csv")


def test_overrides_alone_are_a_job():
    assert load_job([], ["inputs={KIND: FilesReader, path: a.csv}"]).inputs.path == "a.csv"


@pytest.mark.parametrize(
    "text, said",
    [
        ("inpts: {limit: 1}", r"over.yaml: unknown key 'inpts' \(nearest: 'inputs'\)"),
        ("inputs: {pth: b.csv}", r"over.yaml: unknown key 'inputs.pth' \(nearest: 'path'\)"),
        ("logger_service: {levl: INFO}", r"over.yaml: unknown key 'logger_service.levl' \(nearest: 'level'\)"),
        ("inputs: {limit: many}", r"over.yaml: inputs.limit: input should be a valid integer"),
        ("inputs: {limit: '9'}", r"over.yaml: inputs.limit: input should be a valid integer"),
        ("inputs: {KIND: FileReader}", r"over.yaml: no inputs are of KIND 'FileReader' \(nearest: 'FilesReader'\)"),
        ("inputs: a.csv", r"over.yaml: inputs holds keys and values, not one value"),
        ("KIND: InferenceJbo", r"over.yaml: no job is of KIND 'InferenceJbo' \(nearest: 'InferenceJob'\)"),
        ("backend: sprk", r"over.yaml: backend: input should be 'sklearn', 'spark' or 'auto'"),
        ("reject_limit: 7.5", r"over.yaml: reject_limit: is no limit; write a count such as 100"),
        ("outputs: {file: scores.xlsx}", r"over.yaml: outputs.file: scores.xlsx has no ending that names a format"),
        ("alias_or_version: {of: 1}", r"over.yaml: alias_or_version: input should be a valid string"),
    ],
)
def test_a_wrong_key_or_value_names_its_file_and_what_is_near(base, write, text, said):
    with pytest.raises(JobInvalid, match=said):
        load_job([base, write("over.yaml", text)])


def test_a_key_that_lacks_is_named(write):
    with pytest.raises(JobInvalid, match=r"'inputs' is missing"):
        load_job([write("a.yaml", "KIND: InferenceJob")])
    with pytest.raises(JobInvalid, match=r"a.yaml: 'inputs.path' is missing"):
        load_job([write("a.yaml", "inputs: {KIND: FilesReader}")])
    with pytest.raises(JobInvalid, match=r"'inputs.KIND' is missing"):
        load_job([write("a.yaml", "inputs: {path: a.csv}")])


def test_a_file_that_is_not_there_names_the_nearest(base):
    with pytest.raises(JobFileMissing, match=r"bse.yaml \(nearest: 'base.yaml'\)"):
        load_job([base.with_name("bse.yaml")])


@pytest.mark.parametrize(
    "text, said",
    [
        ("a: 1\nb: [1", "not readable YAML at line 2"),
        ("- 1", "holds no keys and values"),
        ("KIND: a\nKIND: b", "not readable YAML at line 2: 'KIND' comes twice"),
        ("a: \x01", "not readable YAML"),
    ],
)
def test_a_malformed_file_is_named(base, write, text, said):
    with pytest.raises(JobFileMalformed, match=rf"over.yaml (is )?{said}"):
        load_job([base, write("over.yaml", text)])


@pytest.mark.parametrize("override", ["inputs", "=3", "inputs..limit=3", "inputs.limit={"])
def test_a_malformed_override_is_named(base, override):
    with pytest.raises(JobOverrideMalformed):
        load_job([base], [override])


def test_a_password_has_no_place_in_a_job_and_is_not_repeated(base):
    with pytest.raises(JobInvalid, match="MLFLOW_TRACKING_URI") as found:
        load_job([base], ["mlflow_service.tracking_uri=https://me:geheim@mlflow.example"])
    assert "geheim" not in str(found.value)


def test_the_schema_describes_every_key_of_the_shipped_file():
    schema = job_schema()
    shipped = yaml.safe_load((CONFS / "inference.yaml").read_text())
    assert set(shipped) <= set(schema["properties"]) and "MemoryReader" not in schema["$defs"]
    kinds = {name: found["properties"]["KIND"]["const"] for name, found in schema["$defs"].items() if "KIND" in found}
    assert all(name == kind for name, kind in kinds.items())
