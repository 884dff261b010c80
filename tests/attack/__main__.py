"""Try decoders for hours: `python -m tests.attack [NAME ...] --seconds 3600 --seed 7`.

An input that shows a fault is written to `tests/attack/seeds/NAME/`, where the tests take it
from then on.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import time
import traceback

from tests.attack.decoders import DECODERS, SEEDS, Decoder
from tests.attack.mutation import mutations


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.attack", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(DECODERS))
    parser.add_argument("--seconds", type=float, default=60.0, help="for each; default: 60")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="default: the time")
    given = parser.parse_args()
    unknown = [name for name in given.names if name not in DECODERS]
    if unknown:
        parser.error(f"no decoder is called {unknown[0]}; there are: {', '.join(DECODERS)}")
    faults = [_fuzz(DECODERS[name], given) for name in given.names or DECODERS]
    return 1 if any(faults) else 0


def _fuzz(decoder: Decoder, given: argparse.Namespace) -> int:
    tried = faults = 0
    shown = set[str]()
    ends = time.monotonic() + given.seconds
    for data in mutations([*decoder.samples, *decoder.seeds()], given.seed):
        tried += 1
        try:
            decoder.try_on(data)
        except Exception as error:  # noqa: BLE001  that is what is looked for
            faults += 1
            where = traceback.format_exception(error)[-3:]
            if "".join(where[:-1]) not in shown:
                shown.add("".join(where[:-1]))
                path = SEEDS / decoder.name / hashlib.sha256(data).hexdigest()[:16]
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
                sys.stdout.write(f"{decoder.name}: {path.name}\n{''.join(where)}")
        if time.monotonic() > ends:
            break
    sys.stdout.write(f"{decoder.name}: seed {given.seed}, {tried} inputs, {faults} faults\n")
    return faults


if __name__ == "__main__":
    sys.exit(main())
