"""Sixteen pixels at once: a vector type for kernels.

A compiler's own vectorisation of loops over pixels comes and goes with the spelling of the loop, without a word, and
is worth a factor of ten. Here one row of a tile is one value of type `row`, which the compiler can only turn into
vector instructions: one AVX-512 register, two of AVX, four of NEON.
"""

import operator

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic, lower_builtin, models, register_model, type_callable


WIDTH = 16
VECTOR = ir.VectorType(ir.FloatType(), WIDTH)
MASK = ir.VectorType(ir.IntType(1), WIDTH)


class RowType(types.Type):
    """Sixteen float32."""

    def __init__(self):
        super().__init__(name="Row16")


class RowMaskType(types.Type):
    """Sixteen truth values."""

    def __init__(self):
        super().__init__(name="RowMask16")


row, row_mask = RowType(), RowMaskType()


@register_model(RowType)
class RowModel(models.PrimitiveModel):
    def __init__(self, manager, kind):
        super().__init__(manager, kind, VECTOR)


@register_model(RowMaskType)
class RowMaskModel(models.PrimitiveModel):
    def __init__(self, manager, kind):
        super().__init__(manager, kind, MASK)


def _wide(builder: ir.IRBuilder, value: ir.Value, kind: types.Type) -> ir.Value:
    """A row as it is, or a float32 in all lanes."""
    if kind == row:
        return value
    one = builder.insert_element(ir.Constant(VECTOR, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
    lanes = ir.Constant(ir.VectorType(ir.IntType(32), WIDTH), [0] * WIDTH)
    return builder.shuffle_vector(one, ir.Constant(VECTOR, ir.Undefined), lanes)


def _define_operator(function, result: types.Type, emit) -> None:
    """Make an operator work on rows, and on a row and a float32."""

    @type_callable(function)
    def typed(context):
        def typer(left, right):
            if {left, right} == {row} or {left, right} == {row, types.float32}:
                return result
            return None

        return typer

    def lower(context, builder, signature, arguments):
        wide = [_wide(builder, value, kind) for value, kind in zip(arguments, signature.args, strict=True)]
        return emit(builder, *wide)

    for kinds in ((row, row), (row, types.float32), (types.float32, row)):
        lower_builtin(function, *kinds)(lower)


_define_operator(operator.add, row, lambda builder, left, right: builder.fadd(left, right))
_define_operator(operator.sub, row, lambda builder, left, right: builder.fsub(left, right))
_define_operator(operator.mul, row, lambda builder, left, right: builder.fmul(left, right))
_define_operator(operator.truediv, row, lambda builder, left, right: builder.fdiv(left, right))
for _name, _sign in (("lt", "<"), ("le", "<="), ("gt", ">"), ("ge", ">=")):
    _define_operator(
        getattr(operator, _name),
        row_mask,
        lambda builder, left, right, sign=_sign: builder.fcmp_ordered(sign, left, right),
    )


@type_callable(operator.and_)
def _type_both(context):
    return lambda left, right: row_mask if left == right == row_mask else None


@lower_builtin(operator.and_, row_mask, row_mask)
def _both(context, builder, signature, arguments):
    return builder.and_(*arguments)


def _address(context, builder: ir.IRBuilder, kind: types.Array, array: ir.Value, index: ir.Value) -> ir.Value:
    data = context.make_array(kind)(context, builder, array).data
    return builder.bitcast(cgutils.gep_inbounds(builder, data, index), VECTOR.as_pointer())


@intrinsic
def load(typing_context, array, index):
    """The row of a flat float32 array that starts at an index."""

    def emit(context, builder, signature, arguments):
        return builder.load(_address(context, builder, signature.args[0], *arguments), align=4)

    return row(array, types.intp), emit


@intrinsic
def store(typing_context, array, index, values):
    """Write a row into a flat float32 array from an index on."""

    def emit(context, builder, signature, arguments):
        array, index, values = arguments
        builder.store(values, _address(context, builder, signature.args[0], array, index), align=4)
        return context.get_dummy_value()

    return types.void(array, types.intp, row), emit


@intrinsic
def ramp(typing_context):
    """0, 1, 2 ... 15."""
    return row(), lambda context, builder, signature, arguments: ir.Constant(VECTOR, [float(i) for i in range(WIDTH)])


@intrinsic
def spread(typing_context, value):
    """A row of one value."""

    def emit(context, builder, signature, arguments):
        return _wide(builder, arguments[0], types.float32)

    return row(types.float32), emit


@intrinsic
def choose(typing_context, mask, left, right):
    """`left` where the mask is true, else `right`; each a row or a float32."""

    def emit(context, builder, signature, arguments):
        condition, *values = arguments
        wide = [_wide(builder, value, kind) for value, kind in zip(values, signature.args[1:], strict=True)]
        return builder.select(condition, *wide)

    kinds = [kind if kind == row else types.float32 for kind in (left, right)]
    return row(row_mask, *kinds), emit


@intrinsic
def any_lane(typing_context, mask):
    """Whether the mask is true anywhere."""

    def emit(context, builder, signature, arguments):
        bits = builder.bitcast(arguments[0], ir.IntType(WIDTH))
        return builder.icmp_unsigned("!=", bits, ir.Constant(ir.IntType(WIDTH), 0))

    return types.boolean(row_mask), emit


@intrinsic
def total(typing_context, values):
    """Sum over the lanes, in an order of the compiler's choice."""

    def emit(context, builder, signature, arguments):
        kind = ir.FunctionType(ir.FloatType(), [ir.FloatType(), VECTOR])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.vector.reduce.fadd.v16f32")
        return builder.call(function, [ir.Constant(ir.FloatType(), -0.0), arguments[0]], fastmath=("reassoc",))

    return types.float32(row), emit
