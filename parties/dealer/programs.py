"""The programs that a dealer deals for, and their plans."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from mpcvit.engines.masked.objective import objective
from mpcvit.engines.masked.plan import Plan, make_plan
from mpcvit.errors import ProgramMismatch
from mpcvit.program.program import Program
from mpcvit.store.budgets import load_programs


class Programs:
    """Programs by digest. Plans are made when they are first asked for; one thread asks at a time.

    Raises:
        ModelFileError: a program cannot be read.
    """

    def __init__(self, folders: Iterable[Path]) -> None:
        found = [program for folder in folders for program in load_programs(folder).values()]
        self._programs = {bytes.fromhex(program.digest): program for program in found}
        self._plans: dict[tuple[bytes, str], Plan] = {}

    def load(self, folder: Path) -> list[Program]:
        """Deal for all programs of one more model, and return them, the whole model's first.

        Raises:
            ModelFileError: one cannot be read.
        """
        programs = list(load_programs(folder).values())
        self._programs |= {bytes.fromhex(program.digest): program for program in programs}
        return programs

    def program(self, digest: bytes) -> Program:
        """Return the program of ``digest``.

        Raises:
            ProgramMismatch: there is none.
        """
        program = self._programs.get(digest)
        if program is None:
            raise ProgramMismatch(
                f"program {digest.hex()[:16]}..",
                expected=f"one of {[known.hex()[:16] for known in self._programs]}",
                remedy="Add the model's folder to 'programs' in the dealer's configuration.",
            )
        return program

    def plan(self, digest: bytes, goal: str) -> Plan:
        """Return the fast engine's plan for an objective.

        Raises:
            ProgramMismatch: no such program.
            ConfigError: no such objective.
        """
        if (digest, goal) not in self._plans:
            self._plans[digest, goal] = make_plan(self.program(digest), objective(goal))
        return self._plans[digest, goal]
