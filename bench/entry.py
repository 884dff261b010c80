"""The begin and the end of every bench: its options, and the exit code."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import NoReturn

from bench.errors import BenchError
from bridge.lab.server.server_errors import ServerError


def bench_parser(name: str, about: str | None) -> argparse.ArgumentParser:
    """A parser for `bench/run NAME`.  `about` keeps its lines."""
    return argparse.ArgumentParser(
        prog=f"bench/run {name}",
        description=about,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def run_bench(main: Callable[[], int]) -> NoReturn:
    """Exit with the code of `main`.  A measure that fails is one line."""
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
    except (BenchError, ServerError) as error:
        print(f"bench: {error}", file=sys.stderr)
        sys.exit(1)
