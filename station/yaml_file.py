"""Read a YAML file into a strict pydantic model; an error names file, line, key and what is allowed."""

from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times faster where PyYAML was built with it
_Model = TypeVar("_Model", bound=BaseModel)


class BadFile(ValueError):  # noqa: N818  reads as the message it is
    """A file that cannot be used; one line per problem."""


class Strict(BaseModel):
    """Base of everything read from YAML: unknown keys are errors, values are frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def shipped(*parts: str) -> Path:
    """A file or folder of `config/` or `protocols/`: inside the installed package, or in the checkout."""
    installed = Path(str(files("station"))) / "shipped"
    root = installed if installed.is_dir() else installed.parents[1]
    return root.joinpath(*parts)


def read(path: Path, model: type[_Model]) -> _Model:
    """Parse and validate.

    Raises
    ------
    BadFile
        `file:line: key: what is wrong and what is allowed`, for every problem at once.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadFile(f"{path}: cannot be read ({error}); give the path of a YAML file") from error
    return parse(text, model, str(path))


def parse(text: str, model: type[_Model], name: str) -> _Model:
    """Like `read`, from text; `name` stands for the file in messages."""
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
        data = None if root is None else loader.construct_document(root)
    except (yaml.YAMLError, UnicodeError) as error:
        mark = getattr(error, "problem_mark", None)
        line = min(mark.line, text.count("\n")) + 1 if mark else 1
        problem = getattr(error, "problem", None) or "not YAML"
        raise BadFile(f"{name}:{line}: {problem}; correct the YAML") from error
    if root is None or not isinstance(data, dict):
        raise BadFile(f"{name}:1: empty or not a mapping; allowed keys: {', '.join(model.model_fields)}")
    duplicates = list(_duplicate_keys(root))
    if duplicates:
        raise BadFile("\n".join(f"{name}:{line}: {key}: given twice; keep one" for line, key in duplicates))
    try:
        return model.model_validate(data)
    except ValidationError as error:
        lines = [_line(name, root, model, dict(problem)) for problem in error.errors()]
        raise BadFile("\n".join(lines)) from error


def _line(name: str, root: yaml.Node, model: type[BaseModel], problem: dict[str, Any]) -> str:
    where = [str(part) for part in problem["loc"]]
    line = _line_of(root, where)
    message = str(problem["msg"])
    if problem["type"] == "extra_forbidden":
        message = f"unknown key; allowed here: {', '.join(_allowed(model, where[:-1]))}"
    elif problem["type"] == "missing":
        message = "is required and missing"
    else:
        message = f"{message}, got {problem['input']!r}"
    return f"{name}:{line}: {'.'.join(where)}: {message}"


def _line_of(node: yaml.Node, where: list[str]) -> int:
    """The line of the deepest node on the way that exists."""
    line = node.start_mark.line + 1
    for part in where:
        if isinstance(node, yaml.MappingNode):
            match = next(((k, v) for k, v in node.value if k.value == part), None)
            if match is None:
                return line
            line, node = match[0].start_mark.line + 1, match[1]
        elif isinstance(node, yaml.SequenceNode) and part.isdigit() and int(part) < len(node.value):
            node = node.value[int(part)]
            line = node.start_mark.line + 1
    return line


def _allowed(model: type[BaseModel], where: list[str]) -> list[str]:
    """Keys allowed at that place, as far as the models tell."""
    current: Any = model
    for part in where:
        fields = getattr(current, "model_fields", {})
        if part not in fields:
            arguments = getattr(current, "__args__", ())
            current = arguments[-1] if arguments else current
            continue
        current = fields[part].annotation
    models = [current, *getattr(current, "__args__", ())]
    return [key for item in models for key in getattr(item, "model_fields", {})]


def _duplicate_keys(node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if key.value in seen:
                yield key.start_mark.line + 1, key.value
            seen.add(key.value)
            yield from _duplicate_keys(value)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _duplicate_keys(item)
