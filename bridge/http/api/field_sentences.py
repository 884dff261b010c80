"""The sentences below the fields of the answers' classes, for `/openapi.json`.

Python keeps the docstring of a class and drops a text below a field.  So the source of their
modules is read again.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Mapping
from itertools import pairwise
from types import ModuleType

from msgspec import Struct


def field_sentences(*modules: ModuleType) -> Mapping[str, Mapping[str, str]]:
    """The sentence of each key of the JSON, by the name of its struct; inherited ones too."""
    texts = {
        definition.name: _of_class(definition)
        for module in modules
        for definition in ast.parse(inspect.getsource(module)).body
        if isinstance(definition, ast.ClassDef)
    }
    structs = {
        name: struct
        for module in modules
        for name, struct in vars(module).items()
        if name in texts and issubclass(struct, Struct)
    }
    return {name: _of_struct(struct, texts) for name, struct in structs.items()}


def _of_class(definition: ast.ClassDef) -> dict[str, str]:
    sentences = dict[str, str]()
    for field, below in pairwise(definition.body):
        if not (isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)):
            continue
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            sentences[field.target.id] = inspect.cleandoc(str(below.value.value)).replace("\n", " ")
    return sentences


def _of_struct(struct: type[Struct], texts: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    by_field = dict[str, str]()
    for owner in reversed(struct.__mro__):
        by_field |= texts.get(owner.__name__, {})
    keys = zip(struct.__struct_fields__, struct.__struct_encode_fields__, strict=True)
    return {key: by_field[field] for field, key in keys if field in by_field}
