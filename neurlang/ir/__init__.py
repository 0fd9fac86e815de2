"""The two IRs: graphs of whole arrays, loops over elements."""

from neurlang.ir.graph import Graph, Node
from neurlang.ir.parse import parse
from neurlang.ir.text import graph_text
from neurlang.ir.types import Type, parse_type
from neurlang.ir.verify import verify

__all__ = ["Graph", "Node", "Type", "graph_text", "parse", "parse_type", "verify"]
