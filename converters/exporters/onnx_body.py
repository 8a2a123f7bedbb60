"""Writing ONNX nodes as equations: values with operators, functions with bodies.

A :class:`Body` collects the nodes of a function or of the graph; a :class:`Value` is a name in
it on which ``+ - * // %`` write the node that computes them. :class:`Domain` holds the functions
of an operator domain of our own; each is written once, by a Python function on values, and has
its body in the file, so that every ONNX runtime can execute it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import AttributeProto, FunctionProto, NodeProto, helper, numpy_helper

OPSET = 17
IR_VERSION = 9


@dataclass(frozen=True)
class Value:
    """A tensor named ``name`` inside ``body``."""

    body: Body
    name: str

    def __add__(self, other: Operand) -> Value:
        return self.body.op("Add", self, other)

    def __sub__(self, other: Operand) -> Value:
        return self.body.op("Sub", self, other)

    def __mul__(self, other: Operand) -> Value:
        return self.body.op("Mul", self, other)

    def __truediv__(self, other: Operand) -> Value:
        return self.body.op("Div", self, other)

    def __floordiv__(self, other: Operand) -> Value:
        """ONNX divides integers toward zero: only for non-negative or exact quotients."""
        return self.body.op("Div", self, other)

    def __mod__(self, other: Operand) -> Value:
        """Remainder with the sign of the divisor, as in Python."""
        return self.body.op("Mod", self, other)

    def __neg__(self) -> Value:
        return self.body.op("Neg", self)

    def at_least(self, other: Operand) -> Value:
        """Truth of ``self >= other``."""
        return self.body.op("GreaterOrEqual", self, other)

    def exceeds(self, other: Operand) -> Value:
        """Truth of ``self > other``."""
        return self.body.op("Greater", self, other)

    def maximum(self, other: Operand) -> Value:
        """The larger one; onnxruntime 1.23's Max errs on int64 values beyond 32 bits."""
        return self.exceeds(other).where(self, other)

    def minimum(self, other: Operand) -> Value:
        """The smaller one; see :meth:`maximum`."""
        return self.exceeds(other).where(other, self)

    def cast(self, dtype: int) -> Value:
        """``dtype`` is one of ``TensorProto``'s."""
        return self.body.op("Cast", self, to=dtype)

    def where(self, then: Operand, otherwise: Operand) -> Value:
        """``then`` where this truth value holds."""
        return self.body.op("Where", self, then, otherwise)


Operand = Value | int | float


@dataclass
class Body:
    """The nodes of one function or graph; int operands are int64, floats float32 constants."""

    nodes: list[NodeProto] = field(default_factory=list)
    attributes: list[str] = field(default_factory=list)
    _constants: dict[Any, Value] = field(default_factory=dict)

    def value(self, name: str) -> Value:
        """An input, initializer or result of the given name."""
        return Value(self, name)

    def op(
        self,
        kind: str,
        *inputs: Operand,
        domain: str = "",
        name: str | None = None,
        **attributes: Any,
    ) -> Value:
        """A node with one result, called ``name`` if given."""
        return self.call(kind, inputs, [name], domain, **attributes)[0]

    def call(
        self,
        kind: str,
        inputs: Sequence[Operand],
        results: Sequence[str | None],
        domain: str,
        **attributes: Any,
    ) -> tuple[Value, ...]:
        """A node with as many results as ``results`` has names (None: numbered)."""
        arguments = [self._operand(operand).name for operand in inputs]
        prefix = f"{kind.lower()}_{len(self.nodes)}"
        names = [
            result or (prefix if len(results) == 1 else f"{prefix}_{index}")
            for index, result in enumerate(results)
        ]
        self.nodes.append(helper.make_node(kind, arguments, names, domain=domain, **attributes))
        return tuple(Value(self, name) for name in names)

    def attribute(self, name: str) -> Value:
        """The function's integer attribute ``name`` as a scalar."""
        return self._attribute(name, "value_int", AttributeProto.INT)

    def real_attribute(self, name: str) -> Value:
        """The function's float attribute ``name`` as a scalar."""
        return self._attribute(name, "value_float", AttributeProto.FLOAT)

    def constant(self, array: NDArray[Any]) -> Value:
        """A constant tensor."""
        node = helper.make_node(
            "Constant", [], [f"constant_{len(self.nodes)}"], value=numpy_helper.from_array(array)
        )
        self.nodes.append(node)
        return Value(self, node.output[0])

    def _attribute(self, name: str, target: str, kind: int) -> Value:
        if name not in self._constants:
            node = helper.make_node("Constant", [], [f"attribute_{name}"])
            reference = node.attribute.add()
            reference.name, reference.ref_attr_name, reference.type = target, name, kind
            self.nodes.append(node)
            self.attributes.append(name)
            self._constants[name] = Value(self, node.output[0])
        return self._constants[name]

    def _operand(self, operand: Operand) -> Value:
        if isinstance(operand, Value):
            return operand
        key = (type(operand), operand)
        if key not in self._constants:
            dtype = np.int64 if isinstance(operand, int) else np.float32
            self._constants[key] = self.constant(np.array(operand, dtype))
        return self._constants[key]


Equations = Callable[..., Value | tuple[Value, ...]]


@dataclass
class Domain:
    """An operator domain: ``functions`` by name, in an order in which they may call another."""

    name: str
    functions: dict[str, FunctionProto] = field(default_factory=dict)

    def function(self, name: str, inputs: str, outputs: str) -> Callable[[Equations], Equations]:
        """Register the decorated ``equations(*inputs)``, which returns the outputs."""

        def register(equations: Equations) -> Equations:
            self.functions[name] = self._written(name, inputs.split(), outputs.split(), equations)
            return equations

        return register

    def call(self, kind: str, *inputs: Operand, **attributes: Any) -> Value:
        """A call with one result, in the body of the first input that is a value."""
        body = next(operand.body for operand in inputs if isinstance(operand, Value))
        return body.op(kind, *inputs, domain=self.name, **attributes)

    def _written(
        self, name: str, inputs: list[str], outputs: list[str], equations: Equations
    ) -> FunctionProto:
        body = Body()
        results = equations(*map(body.value, inputs))
        for result, output in zip(
            results if isinstance(results, tuple) else (results,), outputs, strict=True
        ):
            body.op("Identity", result, name=output)
        return helper.make_function(
            self.name,
            name,
            inputs,
            outputs,
            body.nodes,
            [helper.make_opsetid("", OPSET), helper.make_opsetid(self.name, 1)],
            attributes=body.attributes,
            doc_string=equations.__doc__ or "",
        )
