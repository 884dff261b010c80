"""A Helm chart as manifests, without Helm: the few parts of its templates that our chart uses.

`test_chart.py` compares the result with Helm's own where Helm is installed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

import yaml

Scope: TypeAlias = Mapping[str, Any]
"""The dot and the variables: `.`, `$`, `$name`."""

Part: TypeAlias = "str | tuple[str]"
"""A text, or an action as a tuple of one."""
BLOCKS: Final = ("if", "with", "range")

_ACTION: Final = re.compile(r"\{\{(-?)\s*(.*?)\s*(-?)\}\}", re.DOTALL)


def render(folder: Path, name: str, values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The manifests of a release of the chart in `folder`, `values` over its own."""
    defaults = yaml.safe_load((folder / "values.yaml").read_text())
    chart = yaml.safe_load((folder / "Chart.yaml").read_text())
    root = {
        "Values": _merged(defaults, values),
        "Release": {"Name": name, "Service": "Helm"},
        "Chart": {key[0].upper() + key[1:]: value for key, value in chart.items()},
        "Files": folder,
    }
    templates = sorted((folder / "templates").iterdir())
    renderer = _Renderer(
        {key: body for path in templates for key, body in _definitions(path.read_text())}
    )
    texts = [renderer.text(path.read_text(), root) for path in templates if path.suffix == ".yaml"]
    return [one for text in texts for one in yaml.safe_load_all(text) if one]


def _merged(defaults: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(defaults)
    for key, value in values.items():
        inner = defaults.get(key)
        merged[key] = _merged(inner, value) if isinstance(inner, Mapping) else value
    return merged


def _definitions(text: str) -> Iterator[tuple[str, str]]:
    pattern = r'\{\{- define "([^"]+)" -\}\}\s*(.*?)\s*\{\{- end -\}\}'
    for match in re.finditer(pattern, text, re.DOTALL):
        yield match[1], match[2]


class _Renderer:
    def __init__(self, definitions: Mapping[str, str]) -> None:
        self._definitions = definitions

    def text(self, template: str, dot: Any) -> str:
        return self._block(list(_parts(template)), {".": dot, "$": dot})

    def _block(self, parts: list[Part], scope: Scope) -> str:
        text, at = "", 0
        while at < len(parts):
            part = parts[at]
            at += 1
            if isinstance(part, str):
                text += part
            elif part[0].partition(" ")[0] in BLOCKS:
                end = _end_of(parts, at)
                inner = parts[at:end]
                text += "".join(self._block(inner, one) for one in self._scopes(part[0], scope))
                at = end + 1
            else:
                text += _shown(self._value(part[0], scope))
        return text

    def _scopes(self, action: str, scope: Scope) -> list[Scope]:
        """The scopes in which the inside of a block is rendered, each once."""
        word, _, rest = action.partition(" ")
        names, _, source = rest.rpartition(":= ")
        value = self._value(source, scope)
        if word == "range":
            key, item = (one.strip() for one in names.split(","))
            return [{**scope, ".": v, key: k, item: v} for k, v in sorted(value.items())]
        return [{**scope, ".": value} if word == "with" else scope] if value else []

    def _value(self, expression: str, scope: Scope) -> Any:
        first, *pipes = expression.split(" | ")
        value = self._term(first, scope)
        for pipe in pipes:
            name, _, argument = pipe.strip().partition(" ")
            value = FUNCTIONS[name](value, self._term(argument, scope) if argument else None)
        return value

    def _term(self, text: str, scope: Scope) -> Any:
        words = text.split()
        if words[0] == "include":
            return self.text(self._definitions[words[1].strip('"')], self._term(words[2], scope))
        if words[0] == "toYaml":
            return FUNCTIONS["toYaml"](self._term(words[1], scope), None)
        if words[0] == ".Files.Get":
            return (self._term("$.Files", scope) / words[1].strip('"')).read_text()
        if text.startswith('"') or text.isdigit():
            return json.loads(text)
        if text in scope:
            return scope[text]
        value = scope["."] if text.startswith(".") else scope[text.partition(".")[0]]
        for key in text.partition(".")[2].split("."):
            value = value[key]
        return value


def _end_of(parts: list[Part], at: int) -> int:
    """The place of the `end` of the block whose inside begins at `at`."""
    depth = 1
    while depth:
        part = parts[at]
        if not isinstance(part, str):
            depth += (part[0].partition(" ")[0] in BLOCKS) - (part[0] == "end")
        at += 1
    return at - 1


def _parts(template: str) -> Iterator[Part]:
    """A dash takes the white space on its side away."""
    template = re.sub(r"\{\{- define.*?\{\{- end -\}\}\n?", "", template, flags=re.DOTALL)
    at, trim = 0, False
    for match in _ACTION.finditer(template):
        text = template[at : match.start()]
        text = text.lstrip() if trim else text
        yield text.rstrip() if match[1] else text
        yield (match[2],)
        at, trim = match.end(), bool(match[3])
    yield template[at:].lstrip() if trim else template[at:]


def _shown(value: Any) -> str:
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else str(value)


FUNCTIONS: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "quote": lambda value, _: json.dumps(_shown(value)),
    "default": lambda value, other: value or other,
    "toYaml": lambda value, _: yaml.safe_dump(value).rstrip(),
    "nindent": lambda value, width: "\n" + re.sub("(?m)^(?=.)", " " * width, value),
}
