"""The machine instructions of every map op, a row each, for scalars and vectors alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from neurlang.codegen.mathlib import FUNCTIONS
from neurlang.codegen.writer import Value, Writer, constant, vector_type
from neurlang.ir.types import BOOL, DType

LLVM = {"float32": "float", "float64": "double", "bool": "i1"}


def llvm_type(dtype: DType) -> str:
    return LLVM.get(dtype.name) or f"i{8 * dtype.itemsize}"


def memory_type(dtype: DType) -> str:
    return "i8" if dtype == BOOL else llvm_type(dtype)


def constant_value(value: Any, dtype: DType, lanes: int) -> Value:
    return constant(value.item() if hasattr(value, "item") else value, vector_type(llvm_type(dtype), lanes))


def _maxmin(name, w, a, b, d):
    if d.kind == "f":
        return w.intrinsic("maximum" if name == "max" else "minimum", a, b)
    return w.intrinsic(("s" if d.kind == "i" else "u") + name, a, b)


def _sign(w, a, d):
    z = constant(0, a.type)
    if d.kind == "f":
        one, neg = constant(1, a.type), constant(-1, a.type)
        r = w.select(w.fcmp("ogt", a, z), one, w.select(w.fcmp("olt", a, z), neg, z))
        return w.select(w.fcmp("uno", a, a), a, r)
    if d.kind == "u":
        return w.select(w.icmp("ne", a, z), constant(1, a.type), z)
    return w.select(w.icmp("sgt", a, z), constant(1, a.type), w.select(w.icmp("slt", a, z), constant(-1, a.type), z))


def _divmod(w, a, b, d, want):
    z = constant(0, a.type)
    if d.kind == "f":
        m = w.frem(a, b)
        q = w.fdiv(w.fsub(a, m), b)
        nz = w.fcmp("une", m, z)
        diff = w.xor(w.fcmp("olt", b, z), w.fcmp("olt", m, z))
        adj = w.and_(nz, diff)
        m2 = w.select(adj, w.fadd(m, b), m)
        q2 = w.select(adj, w.fsub(q, constant(1, a.type)), q)
        m3 = w.select(w.fcmp("oeq", m2, z), w.copysign(z, b), m2)
        fl = w.floor(q2)
        fl = w.select(w.fcmp("ogt", w.fsub(q2, fl), constant(0.5, a.type)), w.fadd(fl, constant(1, a.type)), fl)
        fl = w.select(w.fcmp("oeq", q2, z), w.copysign(z, w.fdiv(a, b)), fl)
        bz = w.fcmp("oeq", b, z)
        return w.select(bz, w.fdiv(a, b), fl) if want == "q" else w.select(bz, m, m3)
    bz = w.icmp("eq", b, z)
    safe = w.select(bz, constant(1, a.type), b)
    if d.kind == "u":
        r = w.udiv(a, safe) if want == "q" else w.urem(a, safe)
        return w.select(bz, z, r)
    m1 = w.icmp("eq", b, constant(-1, a.type))
    safe = w.select(m1, constant(1, a.type), safe)
    q, r = w.sdiv(a, safe), w.srem(a, safe)
    adj = w.and_(w.icmp("ne", r, z), w.icmp("slt", w.xor(r, safe), z))
    if want == "q":
        q = w.select(adj, w.sub(q, constant(1, a.type)), q)
        q = w.select(m1, w.sub(z, a), q)
        return w.select(bz, z, q)
    r = w.select(adj, w.add(r, safe), r)
    return w.select(w.or_(bz, m1), z, r)


def _fmod(w, a, b, d):
    if d.kind == "f":
        return w.frem(a, b)
    z = constant(0, a.type)
    bad = w.icmp("eq", b, z)
    if d.kind == "i":
        bad = w.or_(bad, w.icmp("eq", b, constant(-1, a.type)))
    safe = w.select(bad, constant(1, a.type), b)
    return w.select(bad, z, w.srem(a, safe) if d.kind == "i" else w.urem(a, safe))


def _pow(w, a, b, d):
    if d.kind == "f":
        return FUNCTIONS["pow"](w, a, b)
    one, z = constant(1, a.type), constant(0, a.type)
    r, base, e = one, a, b
    for _ in range(8 * d.itemsize):
        bit = w.icmp("ne", w.and_(e, one), z)
        r = w.select(bit, w.mul(r, base), r)
        base = w.mul(base, base)
        e = w.lshr(e, one)
    if d.kind == "i":
        neg = w.icmp("slt", b, z)
        odd = w.icmp("ne", w.and_(b, one), z)
        inv = w.select(w.icmp("eq", a, one), one, w.select(w.icmp("eq", a, constant(-1, a.type)), w.select(odd, constant(-1, a.type), one), z))
        r = w.select(neg, inv, r)
    return r


def _shift(w, a, b, d, left):
    bits = constant(8 * d.itemsize, a.type)
    ok = w.icmp("ult", b, bits)
    safe = w.select(ok, b, constant(0, a.type))
    if left:
        return w.select(ok, w.shl(a, safe), constant(0, a.type))
    if d.kind == "u":
        return w.select(ok, w.lshr(a, safe), constant(0, a.type))
    return w.ashr(a, w.select(ok, b, constant(8 * d.itemsize - 1, a.type)))


def _nextafter(w, a, b, d):
    z = constant(0, a.type)
    i = w.float_bits(a)
    one = constant(1, i.type)
    up = w.icmp("eq", w.xor(w.fcmp("olt", a, b), w.fcmp("olt", a, z)), constant(1, vector_type("i1", a.lanes)))
    r = w.bits_float(w.select(up, w.add(i, one), w.sub(i, one)))
    r = w.select(w.fcmp("oeq", a, z), w.copysign(w.bits_float(one), b), r)
    r = w.select(w.fcmp("oeq", a, b), b, r)
    return w.select(w.fcmp("uno", a, b), w.fadd(a, b), r)


def _cast(w, a, s, t):
    if s == t:
        return a
    tt = llvm_type(t)
    if t == BOOL:
        return w.fcmp("une", a, constant(0, a.type)) if s.kind == "f" else w.icmp("ne", a, constant(0, a.type))
    if s.kind == "f" and t.kind == "f":
        return w.fpext(a, tt) if t.itemsize > s.itemsize else w.fptrunc(a, tt)
    if t.kind == "f":
        return w.sitofp(a, tt) if s.kind == "i" else w.uitofp(a, tt)
    if s.kind != "f":
        if t.itemsize > s.itemsize or s == BOOL:
            return w.sext(a, tt) if s.kind == "i" else w.zext(a, tt)
        return w.trunc(a, tt) if t.itemsize < s.itemsize else a
    wide = "i32" if t.itemsize < 4 or t.name == "int32" else "i64"
    lim = 2.0**31 if wide == "i32" else 2.0**63
    x = w.fpext(a, "double")

    def conv(x):
        ok = w.and_(w.fcmp("ogt", x, constant(-lim - 1 if wide == "i32" else -lim * (1 + 2**-52), x.type)), w.fcmp("olt", x, constant(lim, x.type)))
        return w.select(ok, w.fptosi(w.select(ok, x, constant(0, x.type)), wide), constant(-int(lim), vector_type(wide, a.lanes)))
    r = conv(x)
    if t.name == "uint64":
        hi = w.fcmp("oge", x, constant(2.0**63, x.type))
        top = w.fcmp("oge", x, constant(2.0**64, x.type))
        h = w.xor(conv(w.fsub(x, constant(2.0**63, x.type))), constant(-(2**63), r.type))
        r = w.select(top, constant(0, r.type), w.select(hi, h, r))
    return w.trunc(r, tt)


def _cmp(w, op, a, b, s):
    if s.kind == "f":
        return w.fcmp({"equal": "oeq", "less": "olt", "less_equal": "ole"}[op], a, b)
    u = "s" if s.kind == "i" else "u"
    return w.icmp({"equal": "eq", "less": u + "lt", "less_equal": u + "le"}[op], a, b)


SIMPLE = {"floor": "floor", "ceil": "ceil", "trunc": "trunc", "round": "roundeven", "sqrt": "sqrt"}


def emit_op(writer: Writer, op: str, args: Sequence[Value], source: DType, result: DType) -> Value:
    w, f = writer, source.kind == "f"
    if op in FUNCTIONS and op != "pow":
        return FUNCTIONS[op](w, *args)
    if op in SIMPLE:
        return w.intrinsic(SIMPLE[op], *args)
    a = args[0]
    b = args[1] if len(args) > 1 else a
    match op:
        case "add" | "sub" | "mul":
            return w.binary(("f" if f else "") + op, a, b)
        case "div":
            return w.fdiv(a, b)
        case "neg":
            return w.fneg(a) if f else w.sub(constant(0, a.type), a)
        case "abs":
            if f:
                return w.fabs(a)
            return a if source.kind == "u" else w.select(w.icmp("slt", a, constant(0, a.type)), w.sub(constant(0, a.type), a), a)
        case "sign":
            return _sign(w, a, source)
        case "not":
            return w.xor(a, constant(1 if source == BOOL else -1, a.type))
        case "and" | "or" | "xor":
            return w.binary(op, a, b)
        case "max" | "min":
            return _maxmin(op, w, a, b, source)
        case "floor_div":
            return _divmod(w, a, b, source, "q")
        case "mod":
            return _divmod(w, a, b, source, "r")
        case "fmod":
            return _fmod(w, a, b, source)
        case "pow":
            return _pow(w, a, b, source)
        case "copysign":
            return w.copysign(a, b)
        case "nextafter":
            return _nextafter(w, a, b, source)
        case "equal" | "less" | "less_equal":
            return _cmp(w, op, a, b, source)
        case "shift_left" | "shift_right":
            return _shift(w, a, b, source, op == "shift_left")
        case "where":
            return w.select(args[0], args[1], args[2])
        case "cast":
            return _cast(w, a, source, result)
        case "bitcast":
            return w.bitcast(a, llvm_type(result))
        case "fma":
            return w.fma(*args) if f else w.add(w.mul(a, b), args[2])
    raise AssertionError(op)
