"""The page, the API and the metrics of a worker with 500 live rooms, while people look at them.

    bench/run page [--rooms 500] [--rate 2] [--browsers 20] [--sessions 100000] [--json FILE]

One process runs what `start` runs (actors, store, log, HTTP server), in simulated rooms
with 3 people each and `--rate` events a second in each; only the SDK and LiveKit are not
there.  Its store has `--sessions` ended sessions from before.  This process, on the same
machine, is everybody who looks:

1. *Nobody looks*: pages and answers are asked for one at a time, `--asks` times each.
   A *gap* is how long the loop of the worker, on which all actors run, was away from a
   task that wants its turn each millisecond; its base is what that is when nobody asks.
2. *Browsers*: clients that load the page and its files, hold the event stream and ask for
   what is new when an event comes, as the page's script does; `--chromium` of them are real
   ones with the script itself (0 where there is no chromium).  Twice a second somebody's
   name becomes the time, in another room each: *update* is from then until a browser has
   it, in chromium in its document.  *Lag* is the worker's own
   `room_actors_event_lag_seconds`: from when an event should have happened to its fold.
3. *Slow clients*, with the browsers still there: `--slow` hold the event stream and never
   read, as many are reset.  Until the last is given up.
4. *Half-open*, with the browsers still there: `--half-open` connections that say half a
   request, or nothing, and stay.  Until the last is ended.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import trio

from bench.entry import bench_parser, run_bench
from bench.errors import BenchError
from bench.measure import conclude, load, markdown
from bench.page.phases import Options, run
from bench.page.table import rows, unmet
from bridge.output.progress import ProgressLine


def main() -> int:
    parser = bench_parser("page", __doc__)
    parser.add_argument("--rooms", type=int, default=500)
    parser.add_argument("--rate", type=float, default=2.0, help="events a second in each room")
    parser.add_argument("--browsers", type=int, default=20, help="in all")
    parser.add_argument("--chromium", type=int, default=2, help="real ones among them")
    parser.add_argument("--sessions", type=int, default=100_000, help="in the store from before")
    parser.add_argument("--asks", type=int, default=20, help="of each page when nobody looks")
    parser.add_argument("--seconds", type=float, default=60.0, help="of looking")
    parser.add_argument("--slow", type=int, default=40, help="clients that never read")
    parser.add_argument("--half-open", type=int, default=1000, help="connections")
    parser.add_argument("--folder", type=Path, help="where the store is made, and removed")
    parser.add_argument("--json", type=Path, help="where to write the result as JSON")
    options = Options(**vars(parser.parse_args()))
    before = load()
    try:
        with (
            ProgressLine(sys.stderr) as progress,
            tempfile.TemporaryDirectory(dir=options.folder) as folder,
        ):
            result = trio.run(run, options, Path(folder), progress)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    print(markdown(("page", "reached", "goal"), rows(result)))
    real = result["real_browsers"]
    print(f"\n{options.rooms} rooms, {options.browsers} browsers of which {real} are chromium")
    return conclude(options.json, before, result, unmet(result))


if __name__ == "__main__":
    run_bench(main)
