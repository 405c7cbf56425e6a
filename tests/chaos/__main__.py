"""``python -m tests.chaos --minutes 5 --seed N``: kills everything but what was promised.

A store that keeps its data, a scheduler, and two hosts with three executors each are started by
hand; two clients, and a third that may be killed, call DAGs of one to five steps. Executors,
zygotes, hosts, the scheduler, the store and the third client are killed, stopped and ended at
random, and started again a moment later. Every result is checked against plain evaluation.

Exit code 0: all was kept. 1: something was not. 2: there was too little load, or there were too
few kills, for the run to prove anything. All that is random comes from the seed; the timing of
processes does not.
"""

from __future__ import annotations

import argparse
import secrets
import sys

from .checker import Limits, judge
from .harness import Chaos, Options
from .report import lines


def main() -> int:
    flags = _parser().parse_args()
    options = Options(
        seed=flags.seed or secrets.token_hex(3),
        seconds=flags.seconds or 60 * flags.minutes,
        transport=flags.transport,
        rate=flags.rate,
        mean_pause=flags.pause,
        limit=flags.limit,
        keep=flags.keep,
    )
    limits = Limits(rate=flags.min_rate, kills=flags.min_kills)
    print(f"seed {options.seed}", flush=True)
    with Chaos(options) as chaos:
        chaos.run()
        evidence = chaos.gather()
        chaos.stop()
        verdict = judge(evidence, limits)
        print("\n".join(lines(options, limits, evidence, verdict)))
        if flags.keep:
            print("\n".join(happened.tell(chaos.began) for happened in chaos.director.happened))
            print(f"began {chaos.began:.3f}, the last was mended at {chaos.ceased:.3f}")
            print(f"kept in {chaos.directory}")
    return verdict.exit_code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    flag = parser.add_argument
    flag("--minutes", type=float, default=5.0, help="of faults; default %(default)g")
    flag("--seconds", type=float, help="of faults, instead of minutes")
    flag("--seed", help="of all that is drawn; by default a new one")
    flag("--transport", choices=("ipc", "tcp"), default="ipc", help="default %(default)s")
    flag("--rate", type=float, default=140.0, help="calls/s to try; default %(default)g")
    flag("--pause", type=float, default=1.6, help="seconds between faults; default %(default)g")
    flag("--limit", type=float, default=30.0, help="seconds for calls to end after the faults")
    flag("--min-rate", type=float, default=100.0, help="calls/s demanded; default %(default)g")
    flag("--min-kills", type=float, default=20.0, help="kills a minute demanded; default 20")
    flag("--keep", action="store_true", help="keep logs, journals and data")
    return parser


if __name__ == "__main__":
    sys.exit(main())
