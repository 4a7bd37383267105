"""Search for mixtures of heads that are cheap on secret shares and still accurate.

    python examples/search.py runs/search

A supernet says which heads deserve the expensive attention, a sampler tries other mixtures, and the planner says what
each costs. The pictures are shapes that are drawn on the spot. A search that was interrupted continues.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from mpcvit.link_profile import link_profile
from mpcvit.reports.search import write
from mpcvit.search.presets import preset
from mpcvit.search.run import Search, pictures_for
from mpcvit.search.trial import best
from mpcvit.search.workers import workers


def main() -> None:
    """Run the smoke preset, shortened, and print its Pareto set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="gets every trial, the report and the best models")
    parser.add_argument("--epochs", type=int, default=4, help="per training; the preset's own number is 16")
    parser.add_argument("--trials", type=int, default=4, help="mixtures that the sampler tries")
    parser.add_argument("--network", default="wan", help="what prices are for: loopback, lan or wan")
    arguments = parser.parse_args()

    chosen = replace(preset("smoke").shortened(arguments.epochs), trials=arguments.trials)
    search = Search(
        preset=chosen,
        folder=arguments.out,
        profile=link_profile(arguments.network),
        images=pictures_for(chosen),
        on_trial=lambda trial: print(f"tried {trial.name}: {trial.accuracy:.3f}, {trial.seconds:.2f} s"),
        report=write,
    )
    with workers("1") as pool:
        found = search.run(pool)
    print("the Pareto set, accuracy against predicted seconds of an inference:")
    for trial in best(found.trials):
        print(f"  {trial.name:24} {trial.accuracy:.3f} {trial.seconds:8.2f} s, {trial.price.rounds} rounds")


if __name__ == "__main__":
    main()
