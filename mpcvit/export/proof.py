"""What export proved of a Program's ranges, in short."""

from __future__ import annotations

from dataclasses import dataclass

from mpcvit.program.program import Program


@dataclass(frozen=True)
class Proof:
    """Which values keep their ranges for every picture.

    Attributes:
        proven, calibrated: how many values do, and how many were only seen to on calibration pictures.
        guarded, gates: how many of the gates that are right in a window only tell the client when they were left.
        widest: the value with the largest codes, and their bits.
    """

    proven: int
    calibrated: int
    guarded: int
    gates: int
    widest: tuple[str, int]

    @classmethod
    def of(cls, program: Program) -> Proof:
        """Count over all values that ``program`` computes."""
        proven = sum(node.proven for node in program.nodes)
        gates = [node for node in program.nodes if node.op.guardable]
        widest = max(program.nodes, key=lambda node: node.type.qtype.code_bound)
        return cls(
            proven,
            len(program.nodes) - proven,
            sum(node.guarded for node in gates),
            len(gates),
            (widest.name, widest.type.qtype.code_bound.bit_length()),
        )

    def __str__(self) -> str:
        total = self.proven + self.calibrated
        guards = f"guards at {self.guarded} of {self.gates} gates"
        if not self.calibrated:
            widest = f"widest: {self.widest[0]}, {self.widest[1]} bits"
            return f"proven for every picture, all {total} values; {guards}; {widest}"
        risk = "pictures unlike those of the calibration may be answered wrongly"
        return f"CALIBRATED at {self.calibrated} of {total} values: {risk}; {guards}"
