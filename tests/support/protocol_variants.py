"""Programs of a single op, planned with each protocol that the op offers."""

from __future__ import annotations

from dataclasses import replace

from mpcvit.engines.masked.kernel import kernel_for
from mpcvit.engines.masked.objective import DEFAULT_OBJECTIVE
from mpcvit.engines.masked.plan import Plan, make_plan
from mpcvit.engines.masked.protocol import Form
from mpcvit.ops import Op, Rescale, TensorType
from mpcvit.program.program import Node, Program
from tests.support.secure import one_op

#: Fractional bits dropped before an op whose inputs are to come Masked.
DROPPED = 4


def masked_op(op: Op, *kinds: TensorType) -> Program:
    """A Program of a single op whose inputs come Masked, out of a rescaling."""
    program = one_op(op, *kinds)
    wide = {name: replace(kind, qtype=replace(kind.qtype, frac=kind.frac + DROPPED)) for name, kind in _kinds(program)}
    rescaled = tuple(Node(f"masked {name}", Rescale(DROPPED), (name,), kind) for name, kind in _kinds(program))
    (node,) = program.nodes
    node = replace(node, inputs=tuple(f"masked {name}" for name in node.inputs))
    return Program(wide, {}, (*rescaled, node), "op")


def _kinds(program: Program) -> list[tuple[str, TensorType]]:
    return list(program.inputs.items())


def variants(program: Program) -> list[Plan]:
    """The plan with each of the protocols that the node ``op`` offers."""
    plan = make_plan(program, DEFAULT_OBJECTIVE)
    (node,) = (node for node in program.nodes if node.name == "op")
    step = plan.steps[plan.step_index["op"]]
    forms = [_form(plan, name) for name in step.inputs]
    plans = []
    for protocol in kernel_for(node.op).ways(node.op, program.input_types(node), forms):
        steps = tuple(replace(s, protocol=protocol) if s is step else s for s in plan.steps)
        plans.append(replace(plan, steps=steps))
    return plans


def _form(plan: Plan, name: str) -> Form:
    if name in plan.step_index:
        return plan.steps[plan.step_index[name]].protocol.form
    return Form.MASKED if name in plan.masked_parameters else Form.SHARED
