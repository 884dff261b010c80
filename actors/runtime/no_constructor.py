"""Classes that only the runtime makes: calling one is an error that says where to get one.

The idea is trio's.  A `Ref` or a `Supervisor` that somebody made by hand would belong to no
system; the mistake is shown where it is made.
"""

from __future__ import annotations

from typing import Any, NoReturn, TypeVar

T = TypeVar("T")


class NoPublicConstructor(type):
    """Metaclass of classes whose instances come from the runtime alone."""

    def __call__(cls, *_: object, **__: object) -> NoReturn:
        raise TypeError(f"{cls.__name__} has no public constructor: the actor runtime makes it")

    def runtime_create(cls: type[T], *args: Any, **kwargs: Any) -> T:
        """Make an instance.  For the modules of `actors.runtime`."""
        return type.__call__(cls, *args, **kwargs)
