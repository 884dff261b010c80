"""Imports that bring what we never use, kept out of memory: 10 MiB of 52.

| importing     | brings                                   | for                  | MiB |
|---------------|------------------------------------------|----------------------|-----|
| `livekit.rtc` | numpy                                    | mixing sound         | 5.5 |
| `structlog`   | rich, pygments                           | coloured tracebacks  | 3   |
| a module of   | all of them: SIP, egress, ingress, what  | one name for all     | 1.6 |
| `livekit.protocol` | only LiveKit's cloud has            |                      |     |

Whoever wants any of it later imports it as ever, and the SDK itself gets numpy when it
comes to use it.  A package that cannot be had like this is imported the plain way.
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
"""Names of numpy that the SDK needs before it computes anything: it only writes down that
something is one."""


class _Later(ModuleType):
    """In a module's place: imported when something of it is used."""

    def __getattr__(self, name: str) -> Any:
        if sys.modules.get(self.__name__) is not self:
            return getattr(import_module(self.__name__), name)
        if name in ANNOTATIONS:
            return object
        raise AttributeError(f"{self.__name__}.{name} is used while it is being put off")


@contextmanager
def _in_place_of(name: str, module: ModuleType | None) -> Generator[None, None, None]:
    """`import name` finds this one, or nothing, for the length of a block."""
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
    """The package, but nothing of what it imports: each module is imported by who uses it."""
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


LEAN: Final[Mapping[str, Callable[[], None]]] = {
    "structlog": _structlog,
    "livekit.rtc": _rtc,
    "livekit.protocol": _protocol,
}


def import_lean() -> Mapping[str, str]:
    """Import them; why it did not work, by package.  To be called before anything imports them."""
    import trio_asyncio  # noqa: F401  (before anything that takes functions out of asyncio)

    lost: dict[str, str] = {}
    for name, lean in LEAN.items():
        try:
            lean()
        except Exception as error:  # noqa: BLE001  whatever it is: imported plainly, when used
            lost[name] = redact(f"{type(error).__name__}: {error}")
    return lost
