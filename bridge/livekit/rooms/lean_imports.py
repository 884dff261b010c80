"""Imports without the parts that are never used: 10 of 52 MiB less memory.

| importing     | brings                                   | for                  | MiB |
|---------------|------------------------------------------|----------------------|-----|
| `livekit.rtc` | numpy                                    | mixing sound         | 5.5 |
| `structlog`   | rich, pygments                           | coloured tracebacks  | 3   |
| `starlette`   | python-multipart                         | forms of HTML        | 0.3 |
| a module of   | all of them: SIP, egress, ingress, what  | one name for all     | 1.6 |
| `livekit.protocol` | only LiveKit's cloud has            |                      |     |

Starlette reads no form of ours; `bridge.uploads.report_form` imports python-multipart itself.
A later import of any of these works as usual, and the SDK imports numpy when it first uses it.
A package that cannot be imported in this way is imported in the ordinary way.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec, module_from_spec
from types import ModuleType
from typing import Any, Final

from bridge.output.redact import redact

ANNOTATIONS: Final = frozenset({"ndarray"})
"""Names of numpy that the SDK needs before it computes anything, for type annotations only."""


class _Later(ModuleType):
    """Stands for a module, and imports it when an attribute is used."""

    def __getattr__(self, name: str) -> Any:
        if sys.modules.get(self.__name__) is not self:
            return getattr(import_module(self.__name__), name)
        if name in ANNOTATIONS:
            return object
        raise AttributeError(f"{self.__name__}.{name} is used before it is imported")


@contextmanager
def _in_place_of(name: str, module: ModuleType | None) -> Generator[None, None, None]:
    """In this block `import name` finds `module`, or fails where that is None."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = module  # pyright: ignore[reportArgumentType]  (None: cannot be imported)
    try:
        yield
    finally:
        del sys.modules[name]


def _rtc() -> None:
    with _in_place_of("numpy", _Later("numpy")):
        import_module("livekit.rtc")


def _structlog() -> None:
    with _in_place_of("rich", None):
        import_module("structlog")


def _protocol() -> None:
    """The package without its modules.  Each module is imported by its user."""
    name = "livekit.protocol"
    spec = find_spec(name)
    if name in sys.modules or spec is None:
        return
    sys.modules[name] = module_from_spec(spec)
    try:
        import_module(f"{name}.agent")
        import_module(f"{name}.webhook")
    except BaseException:
        del sys.modules[name]
        raise


def _starlette() -> None:
    with _in_place_of("python_multipart", None), _in_place_of("multipart", None):
        import_module("starlette.requests")


LEAN: Final[Mapping[str, Callable[[], None]]] = {
    "structlog": _structlog,
    "livekit.rtc": _rtc,
    "livekit.protocol": _protocol,
}


def import_lean(*, http: bool = False) -> Mapping[str, str]:
    """Import these packages.  The result has an error text for each package that was not imported.

    `http`: Starlette is wanted, too.  Call it before anything else imports them.
    """
    import trio_asyncio  # noqa: F401  (before anything that takes functions out of asyncio)

    lost: dict[str, str] = {}
    web = {"starlette": _starlette} if http else dict[str, Callable[[], None]]()
    for name, lean in {**LEAN, **web}.items():
        try:
            lean()
        except Exception as error:  # noqa: BLE001  any error: the ordinary import follows, when used
            lost[name] = redact(f"{type(error).__name__}: {error}")
    return lost
