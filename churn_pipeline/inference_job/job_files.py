"""Job files: YAML that is merged left to right, with inline overrides on top.

Belongs here: reading, merging, and saying which key of which file is wrong. Does not: what a job may say
(`jobs.py`, `readers.py`, `services.py`).
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from churn_pipeline.contract import strict_yaml
from churn_pipeline.contract.definition import nearest
from churn_pipeline.errors import UsageError
from churn_pipeline.inference_job.jobs import InferenceJob, Job

#: Jobs by their `KIND`.
JOBS: dict[str, type[Job]] = {"InferenceJob": InferenceJob}

#: Readers that a file can name.
_IN_FILES = ("FilesReader", "DeltaReader", "SqlReader")

Tree = dict[str, Any]


class JobFileMissing(UsageError):
    """There is no such job file."""


class JobFileMalformed(UsageError):
    """A job file is not YAML, or not a mapping of keys to values."""


class JobOverrideMalformed(UsageError):
    """An inline override is not `key=value`, or its value is not YAML."""


class JobInvalid(UsageError):
    """A job has an unknown key, lacks one, or has a value of the wrong kind."""


def load_job(paths: Sequence[str | Path], overrides: Sequence[str] = ()) -> Job:
    """Read a job from files and overrides; nothing of it is started.

    Args:
        paths: YAML files; mappings are merged, any other value of a later file replaces the earlier one's.
        overrides: `key=value`, `key.sub=value`; the value is read as YAML.

    Raises:
        JobFileMissing, JobFileMalformed, JobOverrideMalformed: names the file or the override.
        JobInvalid: names the key, where it stands, and the nearest key there is.
    """
    layers = [(str(path), _read(Path(path))) for path in paths]
    # Only the key: a value may be a secret that does not belong there.
    layers += [(f"-e {text.partition('=')[0]}", _override(text)) for text in overrides]
    merged: Tree = {}
    for _, layer in layers:
        merged = _merged(merged, layer)
    kind = merged.get("KIND", "InferenceJob")
    job = JOBS.get(kind) if isinstance(kind, str) else None
    if job is None:
        raise JobInvalid(
            f"{_origin(layers, ('KIND',))}: no job is of KIND {kind!r}{nearest(str(kind), JOBS)}. "
            f"Use one of {', '.join(JOBS)}."
        )
    try:
        return job.model_validate(merged)
    except ValidationError as error:
        raise JobInvalid(_in_words(error, job, merged, layers)) from None


def job_schema() -> dict[str, Any]:
    """JSON Schema of a job file, for editors."""
    schema = InferenceJob.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _read(path: Path) -> Tree:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        beside = [found.name for found in path.parent.glob("*.y*ml")] if path.parent.is_dir() else []
        raise JobFileMissing(f"There is no job file {path}{nearest(path.name, beside)}. Check the name.") from None
    except (OSError, UnicodeDecodeError):
        raise JobFileMalformed(f"{path} cannot be read as text in UTF-8. Name a YAML file.") from None
    try:
        value = strict_yaml.load(text)
    except yaml.YAMLError as error:
        raise JobFileMalformed(
            f"{path} is not readable YAML{_why(error)}. Compare it with confs/inference.yaml."
        ) from None
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise JobFileMalformed(f"{path} holds no keys and values. Compare it with confs/inference.yaml.")
    return _with_text_keys(value)


def _override(text: str) -> Tree:
    key, equals, value = text.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        raise JobOverrideMalformed(f"Override {(key or text)!r} is not key=value. Write it as -e inputs.limit=100.")
    try:
        found = strict_yaml.load(value)
    except yaml.YAMLError as error:
        raise JobOverrideMalformed(
            f"The value of override {key!r} is not readable YAML{_why(error)}. Put it in quotes, also for the shell."
        ) from None
    tree = _with_text_keys(found) if isinstance(found, dict) else found
    for part in reversed(parts):
        tree = {part: tree}
    return tree


def _with_text_keys(value: Mapping[Any, Any]) -> Tree:
    return {str(k): _with_text_keys(v) if isinstance(v, dict) else v for k, v in value.items()}


def _why(error: yaml.YAMLError) -> str:
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    return (f" at line {mark.line + 1}" if mark else "") + (f": {problem}" if problem else "")


def _merged(under: Tree, over: Tree) -> Tree:
    result = dict(under)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = _merged(result[key], value) if both else value
    return result


def _in_words(error: ValidationError, job: type[Job], merged: Tree, layers: list[tuple[str, Tree]]) -> str:
    first = error.errors(include_url=False)[0]
    path = _keys(first["loc"], merged, to_add=first["type"] == "missing")
    where, key = _origin(layers, path), ".".join(path)
    match first["type"]:
        case "extra_forbidden":
            near = nearest(path[-1], _fields_at(job, path[:-1], merged))
            return f"{where}: unknown key {key!r}{near}. Correct it, or take it out."
        case "missing":
            return f"{where}: {key!r} is missing. Add it; `churn-pipeline run --schema` lists all keys."
        case "union_tag_not_found":
            return f"{where}: '{key}.KIND' is missing. Say which kind it is, such as KIND: FilesReader."
        case "union_tag_invalid":
            tag = first["ctx"]["tag"]
            return f"{where}: no {key} are of KIND {tag!r}{nearest(tag, _IN_FILES)}. Use {', '.join(_IN_FILES)}."
        case "model_type" | "model_attributes_type":
            return f"{where}: {key} holds keys and values, not one value. Compare it with confs/inference.yaml."
    said = first["msg"].removeprefix("Value error, ")
    return f"{where}: {key}: {said[:1].lower()}{said[1:].rstrip('.')}."


def _keys(location: tuple[int | str, ...], merged: Tree, *, to_add: bool) -> tuple[str, ...]:
    """The keys of an error's location: pydantic also names the kinds it tried on the way.

    Args:
        to_add: the last of them is what is missing.
    """
    keys: list[str] = []
    node: Any = merged
    for number, part in enumerate(map(str, location), 1):
        if not isinstance(node, dict):
            break
        if part in node or (to_add and number == len(location)):
            keys.append(part)
            node = node.get(part)
    return tuple(keys)


def _origin(layers: list[tuple[str, Tree]], path: tuple[str, ...]) -> str:
    """Where a key was set last; for a key that is nowhere, where what should hold it was."""
    for depth in range(len(path), 0, -1):
        for name, layer in reversed(layers):
            node: Any = layer
            for key in path[:depth]:
                node = node.get(key, _ABSENT) if isinstance(node, dict) else _ABSENT
            if node is not _ABSENT:
                return name
    return layers[-1][0] if layers else "The job"


_ABSENT = object()


def _fields_at(model: type[BaseModel], path: tuple[str, ...], merged: Tree) -> list[str]:
    """Keys that the part of a job at `path` may have."""
    node: Any = merged
    for key in path:
        node = node[key]
        models = list(_models(model.model_fields[key].annotation))
        model = next((m for m in models if m.__name__ == node.get("KIND")), models[0])
    return list(model.model_fields)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)
