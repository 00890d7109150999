"""Sums of more than two in an int8 file: ADD_N has no int8 kernel, so it stays in float32 between conversions.

The TF converter does the same. Every other operator has an int8 kernel.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from leti_opt.network.operator_plan import OperatorPlan, PlannedOperator

CONVERSIONS = ("DEQUANTIZE", "QUANTIZE")
"""Operators that this module puts in; they have no constants."""


@dataclass(frozen=True, slots=True)
class MixedPlan:
    """A plan in which some tensors are float32 and all others int8.

    Args:
        plan: its first tensors are those of the plan that it was made from.
        float_tensors: the ones in float32.
    """

    plan: OperatorPlan
    float_tensors: frozenset[int]


def with_float_sums(plan: OperatorPlan) -> MixedPlan:
    """Put a DEQUANTIZE behind each tensor that an ADD_N reads, and a QUANTIZE behind each ADD_N.

    A sum that only further sums read stays float32.
    """
    sums = [operator for operator in plan.operators if operator.name == "ADD_N"]
    if not sums:
        return MixedPlan(plan, frozenset())
    as_integers = {tensor for operator in plan.operators if operator.name != "ADD_N" for tensor in operator.inputs}
    made = {operator.output for operator in sums}
    float_of: dict[int, int] = {}
    twins: list[int] = []
    for tensor in sorted(made.union(*[operator.inputs for operator in sums])):
        if tensor in made and tensor not in as_integers and tensor != plan.output:
            float_of[tensor] = tensor
        else:
            float_of[tensor] = len(plan.shapes) + len(twins)
            twins.append(tensor)
    mixed = replace(
        plan,
        operators=tuple(_operators(plan, float_of)),
        shapes=plan.shapes + tuple([plan.shapes[tensor] for tensor in twins]),
        names=plan.names + tuple([f"{plan.names[tensor]}_float32" for tensor in twins]),
    )
    return MixedPlan(mixed, frozenset(float_of.values()))


def _operators(plan: OperatorPlan, float_of: dict[int, int]) -> Iterator[PlannedOperator]:
    for tensor in plan.inputs:
        if tensor in float_of:
            yield PlannedOperator("DEQUANTIZE", 0, (), False, (tensor,), float_of[tensor])
    for operator in plan.operators:
        result = operator.output
        if operator.name != "ADD_N":
            yield operator
            if result in float_of:
                yield PlannedOperator("DEQUANTIZE", operator.layer, (), False, (result,), float_of[result])
            continue
        yield replace(operator, inputs=tuple([float_of[tensor] for tensor in operator.inputs]), output=float_of[result])
        if float_of[result] != result:
            yield PlannedOperator("QUANTIZE", operator.layer, (), False, (float_of[result],), result)
