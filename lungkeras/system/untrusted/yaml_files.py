"""YAML from a user's files: plain values, unique keys, and no more than a person would write."""

from pathlib import Path

import yaml

from lungkeras.system.errors import ParamsError
from lungkeras.system.untrusted.plain_files import size_of

MOST_BYTES = 100_000
DEEPEST = 20


class YamlError(ValueError):
    """What is wrong with a file, in a few words and with its line."""


class _Loader(yaml.SafeLoader):
    """The safe loader, which makes no objects, without aliases (a few of them grow to terabytes) and repeated keys."""

    def compose_node(self, parent, index):
        if self.check_event(yaml.AliasEvent):
            raise YamlError(f"line {self.peek_event().start_mark.line + 1} uses an alias (*)")
        return super().compose_node(parent, index)

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise YamlError(f"line {key.start_mark.line + 1} repeats the key {key.value!r}")
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def read_yaml(file: Path) -> tuple[object, dict[str, int]]:
    """(the data of a YAML file, {key of its top level: line}). Raises YamlError or OSError.

    JSON is YAML. Tags of Python objects, aliases, repeated keys, and files beyond 100 kB or nested deeper than
    twenty levels are errors.
    """
    if size_of(file) > MOST_BYTES:
        raise YamlError(f"it is larger than {MOST_BYTES // 1000} kB")
    try:
        text = file.read_text(encoding="utf-8-sig")
        _check_depth(text)
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            data = None if node is None else loader.construct_document(node)
        finally:
            loader.dispose()
    except UnicodeDecodeError as error:
        raise YamlError("it is not UTF-8") from error
    except yaml.YAMLError as error:
        raise YamlError(_in_one_line(error)) from error
    except RecursionError as error:
        raise YamlError("it is nested too deep") from error
    except ValueError as error:
        if isinstance(error, YamlError):
            raise
        raise YamlError(" ".join(str(error).split())) from error
    lines = {}
    if isinstance(node, yaml.MappingNode):
        lines = {key.value: key.start_mark.line + 1 for key, _ in node.value if isinstance(key, yaml.ScalarNode)}
    return data, lines


def read_own_yaml(file: Path, expected: str) -> tuple[object, dict[str, int]]:
    """`read_yaml` of a file that the user wrote. Raises ParamsError, naming the file and what was `expected`."""
    try:
        return read_yaml(file)
    except OSError as error:
        raise ParamsError(f"{file}: expected {expected}; {error.strerror}") from error
    except YamlError as error:
        raise ParamsError(f"{file}: expected {expected}; {error}") from error


def read_if_there(file: Path) -> dict:
    """The data of a YAML or JSON file; empty if there is no such file. Raises YamlError or OSError."""
    return (read_yaml(file)[0] or {}) if file.is_file() else {}


def _check_depth(text: str) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise YamlError(f"line {event.start_mark.line + 1} is nested too deep")


def _in_one_line(error: yaml.YAMLError) -> str:
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    words = " ".join(str(problem or error).split())
    return f"line {mark.line + 1}: {words}" if mark else words
