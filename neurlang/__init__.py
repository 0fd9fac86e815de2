"""neurlang: a JIT compiler from traced array graphs to native CPU code."""

from neurlang import frontend, ir
from neurlang.errors import (
    ArgumentError,
    AxisError,
    ConcreteValueError,
    DomainError,
    DTypeError,
    FormatError,
    IndexingError,
    InternalError,
    LeakedTracerError,
    MutationError,
    NeurlangError,
    OptionError,
    RangeError,
    ShapeError,
    SideEffectError,
)
from neurlang.frontend import protocols  # attaches operators, methods and NumPy's protocols
from neurlang.frontend.array import Array, asarray
from neurlang.frontend.broadcasting import broadcast
from neurlang.frontend.closeness import *
from neurlang.frontend.composite import *
from neurlang.frontend.convolution import *
from neurlang.frontend.creation import *
from neurlang.frontend.differences import *
from neurlang.frontend.elementwise import *
from neurlang.frontend.indexing import *
from neurlang.frontend.linear import *
from neurlang.frontend.manipulation import *
from neurlang.frontend.names import *
from neurlang.frontend.ordering import *
from neurlang.frontend.places import *
from neurlang.frontend.reals import *
from neurlang.frontend.rearrange import *
from neurlang.frontend.reductions import *
from neurlang.frontend.selection import *
from neurlang.frontend.signals import *
from neurlang.frontend.signature import ShapeDtype
from neurlang.frontend.statistics import *
from neurlang.frontend.transposed_convolution import *
from neurlang.frontend.without_nan import *
from neurlang.inspect import explain, inspect
from neurlang.ir.interpret import interpret
from neurlang.jit import jit
from neurlang.process import cache, get_threads, memory, set_threads
from neurlang.settings import options

__version__ = "0.1.0"
