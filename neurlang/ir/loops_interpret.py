"""A kernel run with NumPy, one vector operation for all lanes: the oracle for loop passes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from neurlang.errors import InternalError
from neurlang.ir.loops import (
    Affine,
    Alloc,
    Apply,
    Atom,
    Buffer,
    Check,
    Expression,
    Fold,
    For,
    Index,
    Kernel,
    Let,
    Literal,
    Load,
    Prefetch,
    Ref,
    Register,
    Rotate,
    Statement,
    Store,
    Transpose,
    Update,
    Var,
)
from neurlang.ir.ops import OPS, NumericFunction, cast
from neurlang.ir.types import FLOAT32, FLOAT64, DType

Evaluate = Callable[[], Any]
Run = Callable[[], None]
Place = Callable[[], tuple[Any, ...]]


def interpret_kernel(kernel: Kernel, memory: Mapping[Buffer, Any]) -> int:
    """Run a kernel on arrays; its outputs are written in place.

    `memory` holds an array of the buffer's shape and dtype for each input and output. Returns the
    code of the first Check that does not hold, else 0. Scratch memory and masked lanes start as
    garbage (NaN where there is one), so that what reads them shows. InternalError where the kernel
    reads or writes outside of a buffer, or reads a register that was not made.
    """
    run = _Interpreter(kernel, memory)
    try:
        with np.errstate(all="ignore"):
            run.translate(kernel.body)()
    except KeyError as missing:
        key = missing.args[0]
        name = f"{key[0]}{list(key[1:])}" if isinstance(key, tuple) else str(key)
        message = f"kernel {kernel.name} uses {name} before it is made\n{kernel}"
        raise InternalError(message) from missing
    return run.code


class _Interpreter:
    """Turns each statement and expression into a closure once; the loops call them.

    A value is a NumPy scalar, or a vector of all lanes where it differs between lanes or stands in
    a register of several. No value is changed once made, so registers may share one. The masked
    lanes of a vector loop are the last, so a mask is the number of active lanes.
    """

    def __init__(self, kernel: Kernel, memory: Mapping[Buffer, Any]) -> None:
        self.kernel = kernel
        self.arrays: dict[Buffer, Any] = {}
        self.values: dict[Any, Any] = {}  # by Var, Register, or (Register, index...)
        self.code = 0
        self.active = 1
        self.lanes = 1  # of the vector loop that is being translated
        self.inside: set[Atom] = set()  # what that loop made
        for buffer in (*kernel.inputs, *kernel.outputs):
            array = memory.get(buffer)
            if array is None or array.shape != buffer.shape or array.dtype != buffer.dtype:
                found = None if array is None else f"{array.dtype}{array.shape}"
                raise InternalError(f"kernel {kernel.name}: {buffer.declared} is given {found}")
            self.arrays[buffer] = array

    # statements

    def translate(self, body: Sequence[Statement]) -> Run:
        runs = [self.statement(statement) for statement in body]

        def run() -> None:
            for step in runs:
                step()

        return run

    def statement(self, statement: Statement) -> Run:
        match statement:
            case For(kind="vector", step=lanes) if lanes > 1:
                return self.vector_loop(statement)
            case For():
                return self.loop(statement)
            case Let():
                return self.let(statement)
            case Update():
                return self.update(statement)
            case Store():
                return self.store(statement)
            case Alloc(buffer=buffer):
                return self.alloc(buffer)
            case Prefetch():
                return lambda: None  # no value changes
            case Transpose(register=register):
                return self.transpose(register)
            case Rotate(register=register, by=by):
                return self.rotate(register, by)
            case Check(condition=condition, code=code):
                return self.check(self.expression(condition), code)

    def loop(self, loop: For) -> Run:
        values, var, body = self.values, loop.var, self.translate(loop.body)
        numbers = self.numbers(loop)

        def run() -> None:
            for number in numbers():
                values[var] = number
                body()

        return run

    def numbers(self, loop: For) -> Callable[[], Iterable[int]]:
        """What a loop's variable takes on: those of its range that lie in its window."""
        whole = range(loop.start, loop.stop, loop.step)
        if loop.window is None:
            return lambda: whole
        first, length = self.affine(loop.window.first), loop.window.length
        return lambda: [number for number in whole if 0 <= number - first() < length]

    def vector_loop(self, loop: For) -> Run:
        self.lanes, self.inside = loop.step, {loop.var}
        values, var, body = self.values, loop.var, self.translate(loop.body)
        self.lanes, self.inside = 1, set()
        lane_numbers = np.arange(loop.step)

        def run() -> None:
            for first in range(loop.start, loop.stop, loop.step):
                self.active = min(loop.step, loop.stop - first)
                values[var] = lane_numbers + first
                body()
            self.active = 1

        return run

    def let(self, let: Let) -> Run:
        values, register = self.values, let.register
        lanes = register.lanes if self.lanes == 1 else self.lanes
        value = self.widened(self.expression(let.value), lanes, register.dtype)
        if self.lanes > 1:
            self.inside.add(register)
        if not register.shape:
            return lambda: values.__setitem__(register, value())
        if let.index:
            key = self.element(register, let.index)
            return lambda: values.__setitem__(key(), value())
        keys = [(register, *position) for position in np.ndindex(register.shape)]
        return lambda: values.update(dict.fromkeys(keys, value()))

    def update(self, update: Update) -> Run:
        values, register, lanes = self.values, update.register, self.lanes
        if lanes > 1 and register not in self.inside and register.lanes != lanes:
            raise InternalError(
                f"kernel {self.kernel.name}: {register.declared} is updated in a vector loop of "
                f"{lanes} lanes\n{self.kernel}"
            )
        key = self.element(register, update.index)
        value = self.expression(update.value)
        if update.op != "set":
            value = _combined(update.op, register.dtype, lambda: values[key()], value)
        value = self.widened(value, max(lanes, register.lanes), register.dtype)

        def run() -> None:
            result, place, active = value(), key(), self.active
            if active < lanes:
                result = np.concatenate((result[:active], values[place][active:]))
            values[place] = result

        return run

    def store(self, store: Store) -> Run:
        array = self.array(store.buffer, store.index)
        value = self.expression(store.value)
        place = self.place(store.buffer, store.index)
        varies = self.varies(store.index)

        def run() -> None:
            result = value()
            if self.lanes_in(result):
                result = result[: self.active] if varies else result[self.active - 1]
            array[place()] = result

        return run

    def alloc(self, buffer: Buffer) -> Run:
        garbage = _garbage(buffer.dtype)
        array = self.arrays[buffer] = np.full(buffer.shape, garbage, buffer.dtype)
        return lambda: array.fill(garbage)

    def transpose(self, register: Register) -> Run:
        keys = [(register, row) for row in range(register.lanes)]

        def run() -> None:
            square = np.stack([self.values[key] for key in keys])
            self.values.update(zip(keys, np.ascontiguousarray(square.T)))

        return run

    def rotate(self, register: Register, by: int) -> Run:
        keys = [(register, number) for number in range(register.shape[0])]

        def run() -> None:
            values = [self.values[key] for key in keys]
            self.values.update(zip(keys, values[by:] + values[:by]))

        return run

    def check(self, condition: Evaluate, code: int) -> Run:
        def run() -> None:
            holds = condition()
            if self.lanes_in(holds):
                holds = holds[: self.active].all()
            if not holds and not self.code:
                self.code = code

        return run

    # expressions

    def expression(self, expression: Expression) -> Evaluate:
        values = self.values
        match expression:
            case Literal(value=value, dtype=dtype):
                literal = dtype.type(value)
                return lambda: literal
            case Ref(register=register, index=()):
                return lambda: values[register]
            case Ref(register=register, index=index):
                key = self.element(register, index)
                return lambda: values[key()]
            case Load():
                return self.load(expression)
            case Index(value=value):
                number = self.affine(value)
                return lambda: np.int64(number())
            case Fold():
                return self.fold(expression)
            case Apply(op=op, args=args, dtype=dtype):
                return _combined(op, dtype, *[self.expression(arg) for arg in args])

    def load(self, load: Load) -> Evaluate:
        array, place = self.array(load.buffer, load.index), self.place(load.buffer, load.index)
        lanes, dtype, garbage = self.lanes, load.dtype, _garbage(load.dtype)
        if not self.varies(load.index):
            return lambda: array[place()]

        def evaluate() -> Any:
            found = array[place()]
            if len(found) == lanes:
                return found
            result = np.full(lanes, garbage, dtype)
            result[: len(found)] = found
            return result

        return evaluate

    def fold(self, fold: Fold) -> Evaluate:
        value, function = self.expression(fold.register), _function(fold.op, fold.dtype)

        def evaluate() -> Any:
            found = np.atleast_1d(value())
            while len(found) > 1:
                half = len(found) // 2
                found = function(found[:half], found[half:])
            return found[0]

        return evaluate

    def widened(self, value: Evaluate, lanes: int, dtype: DType) -> Evaluate:
        """The value in each of the lanes."""
        if lanes == 1:
            return value

        def evaluate() -> Any:
            found = value()
            return found if self.lanes_in(found) else np.full(lanes, found, dtype)

        return evaluate

    # indices

    @staticmethod
    def lanes_in(value: Any) -> bool:
        return isinstance(value, np.ndarray)

    def varies(self, index: Sequence[Affine]) -> bool:
        """Whether the lanes of the vector loop have different indices."""
        atoms = [atom for position in index for atom, _ in position.terms]
        return any(
            atom in self.inside or (isinstance(atom, Register) and atom.lanes > 1) for atom in atoms
        )

    def array(self, buffer: Buffer, index: Sequence[Affine]) -> Any:
        """The memory, indexed by axis or, by one number that counts from the start, flat."""
        array = self.arrays[buffer]
        return array.flat if len(index) < array.ndim else array

    def place(self, buffer: Buffer, index: Sequence[Affine]) -> Place:
        """Where in a buffer the active lanes are; InternalError where one is outside."""
        positions = [self.affine(position) for position in index]
        flat = len(index) < len(buffer.shape)
        bounded = list(zip(positions, (buffer.size,) if flat else buffer.shape))

        def evaluate() -> tuple[Any, ...]:
            place = []
            for position, extent in bounded:
                number = position()
                if self.lanes_in(number):
                    number = number[: self.active]
                    inside = number.view(np.uint64).max() < extent  # negative ones are the largest
                else:
                    inside = 0 <= number < extent
                if not inside:
                    found = ", ".join(str(position()) for position in positions)
                    raise InternalError(
                        f"kernel {self.kernel.name}: {buffer.declared} has no element [{found}], "
                        f"with {self.active} active lanes\n{self.kernel}"
                    )
                place.append(number)
            return tuple(place)

        return evaluate

    def element(self, register: Register, index: Sequence[Affine]) -> Evaluate:
        """What a register, or an element of a register array, is called in `values`."""
        if not index:
            return lambda: register
        positions = [self.affine(position) for position in index]
        return lambda: (register, *[position() for position in positions])

    def affine(self, value: Affine) -> Evaluate:
        """An index: a Python integer, or an int64 vector where lanes differ."""
        constant = value.constant
        if not value.terms:
            return lambda: constant
        terms = [(self.atom(atom), coefficient) for atom, coefficient in value.terms]
        if not constant and len(terms) == 1 and terms[0][1] == 1:
            return terms[0][0]

        def evaluate() -> Any:
            total: Any = constant
            for number, coefficient in terms:
                total = total + number() * coefficient
            return total

        return evaluate

    def atom(self, atom: Atom) -> Evaluate:
        """The number that a variable or register stands for; registers must keep their bounds."""
        values = self.values
        if isinstance(atom, Var):
            return lambda: values[atom]

        def evaluate() -> Any:
            number: Any = np.int64(values[atom])
            seen = number[: self.active] if self.lanes_in(number) else number
            if np.any(seen < atom.low) or np.any(seen > atom.high):
                raise InternalError(
                    f"kernel {self.kernel.name}: index register {atom} is {seen}, "
                    f"not in {atom.low}..{atom.high}\n{self.kernel}"
                )
            return number

        return evaluate


# operations


def _garbage(dtype: DType) -> Any:
    """A value that shows where it is used by mistake."""
    if dtype.kind == "f":
        return dtype.type(np.nan)
    return np.frombuffer(b"\xa5" * dtype.itemsize, f"u{dtype.itemsize}").astype(dtype)[0]


def _combined(op: str, dtype: DType, *args: Evaluate) -> Evaluate:
    """An op applied to what closures give."""
    function = _function(op, dtype)
    match args:
        case (one,):
            return lambda: function(one())
        case (one, two):
            return lambda: function(one(), two())
        case _:
            return lambda: function(*[arg() for arg in args])


def _function(op: str, dtype: DType) -> NumericFunction:
    """An op on scalars and vectors whose result is again one of these, never an array of rank 0."""
    function: NumericFunction | None
    match op:
        case "fma":
            function = fused_multiply_add
        case "inside":
            function = _inside
        case "position":
            function = _position
        case "cast":
            function = partial(cast, dtype=dtype)
        case "bitcast":
            function = partial(_bitcast, dtype=dtype)
        case _:
            function = OPS[op].numpy
    assert function is not None
    if isinstance(function, np.ufunc):
        return function
    general = function
    return lambda *args: np.asarray(general(*args), dtype)[()]


def _bitcast(x: Any, dtype: DType) -> Any:
    return np.asarray(x).view(dtype)


def _inside(index: Any, size: Any) -> Any:
    return (-size <= index) & (index < size)


def _position(index: Any, size: Any) -> Any:
    return np.where(_inside(index, size), np.where(index < 0, index + size, index), 0)


def fused_multiply_add(x: Any, y: Any, z: Any) -> Any:
    """x * y + z, rounded once.

    Equal float32 or float64 dtypes. Method: S. Boldo and G. Melquiond, "Emulation of FMA and
    correctly rounded sums: proved algorithms using rounding to odd", IEEE Transactions on
    Computers 57 (2008), section 4; where float64 products could leave the range of exact error
    terms, by exact integers. Error: 0.5 ULP.
    """
    dtype = np.result_type(x, y, z)
    x, y, z = (np.asarray(value, FLOAT64) for value in (x, y, z))
    if dtype == FLOAT32:
        # the product of two float32 is exact, and rounding to odd with two spare bits is harmless
        return _odd_sum(x * y, z).astype(dtype)
    if not (x.ndim or y.ndim or z.ndim):
        return np.float64(_exact(float(x), float(y), float(z)))
    moderate = _within(x, 400) & _within(y, 400) & (_within(z, 900) | (z == 0))
    product, rest = _two_product(x, y)
    high, low = _two_sum(z, rest)
    total, lost = _two_sum(product, high)
    result: Any = np.where(moderate, total + _odd_sum(low, lost), 0.0)
    if not moderate.all():
        parts = [value[~moderate].tolist() for value in np.broadcast_arrays(x, y, z)]
        result[~moderate] = [_exact(*part) for part in zip(*parts)]
    return result


def _within(x: Any, exponent: int) -> Any:
    return (np.abs(x) < 2.0**exponent) & (np.abs(x) > 2.0**-exponent)


def _two_sum(x: Any, y: Any) -> tuple[Any, Any]:
    """x + y = total + lost, exactly (D. E. Knuth)."""
    total = x + y
    part = total - x
    return total, (x - (total - part)) + (y - part)


def _two_product(x: Any, y: Any) -> tuple[Any, Any]:
    """x * y = product + lost, exactly (T. J. Dekker), by halves of 26 bits."""
    product = x * y
    (x_high, x_low), (y_high, y_low) = _halves(x), _halves(y)
    lost = x_low * y_low - (((product - x_high * y_high) - x_low * y_high) - x_high * y_low)
    return product, lost


def _halves(x: Any) -> tuple[Any, Any]:
    scaled = x * (2.0**27 + 1)
    high = scaled - (scaled - x)
    return high, x - high


def _odd_sum(x: Any, y: Any) -> Any:
    """x + y cut to 53 bits, the last bit set where anything was lost: rounding to odd."""
    total, lost = _two_sum(x, y)
    bits = np.asarray(total).view(np.int64)
    change = np.isfinite(total) & (lost != 0) & ((bits & 1) == 0)
    step = np.where((lost > 0) == (total > 0), 1, -1)
    return np.where(change, bits + step, bits).view(np.float64)


def _exact(x: float, y: float, z: float) -> float:
    """One fraction; Python rounds the quotient of two integers correctly."""
    if not (math.isfinite(x) and math.isfinite(y)):
        return x * y + z
    if not math.isfinite(z):
        return z  # also where x * y alone overflows
    (x_top, x_bottom), (y_top, y_bottom) = x.as_integer_ratio(), y.as_integer_ratio()
    z_top, z_bottom = z.as_integer_ratio()
    top = x_top * y_top * z_bottom + z_top * x_bottom * y_bottom
    if not top:
        return x * y + z  # a zero, whose sign follows the usual rule
    try:
        return top / (x_bottom * y_bottom * z_bottom)
    except OverflowError:
        return math.inf if top > 0 else -math.inf
