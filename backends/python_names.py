"""Names in generated source: those of the program where possible, never one that Python or the source
itself needs."""

from __future__ import annotations

import builtins
import keyword
from collections.abc import Sequence
from itertools import count

from tensorc.ir import Program
from tensorc.plan import HERE

RESERVED = (
    frozenset(
        "np torch math state position chunk batch dtype compute start step stop length window rows known t "
        "device count results at".split()
    )
    | frozenset(  # of kernels, and of what calls them
        "tl triton pid it row row_in slot first last chunks cached_first cached_start cached_at cached_in "
        "cached_low cached_high column_start column_at column_in column_low column_high columns tile warps "
        "stages split precision in_place fits outputs size dot grid CHUNK COLUMNS DOT PRECISION".split()
    )
    | frozenset(keyword.kwlist)
    | frozenset(keyword.softkwlist)
    | frozenset(dir(builtins))
)


class Names:
    """Gives every tensor, size and value of a program a variable, each its own.

    >>> from tensorc.ir import TensorDecl, extent
    >>> names = Names(Program("f", (TensorDecl("np", (extent("n"),)),), (), (), ()))
    >>> names.tensor("np"), names.size("n"), names.value("$3")
    ('np_', 'n', 'x3')
    """

    def __init__(self, program: Program, ends: Sequence[str] = ()) -> None:
        """`ends`: what is put after a name to call what comes with it; nothing else gets such a name."""
        self.taken = set(RESERVED)
        self.here = "position"
        self.program = program
        self.ends: tuple[str, ...] = ("",)  # of the function: it has one name, whatever the backend
        self.function = self._free(program.name)
        self.ends = ("", *ends)
        self.tensors: dict[str, str] = {}
        self.sizes: dict[str, str] = {}
        self.values: dict[str, str] = {}
        for declaration in (*program.inputs, *program.outputs):
            self.tensors.setdefault(declaration.name, self._free(declaration.name))
        for size in program.sizes():
            self.sizes[size] = self._free(size)

    def _free(self, name: str) -> str:
        clean = "".join(c if c.isalnum() and c.isascii() or c == "_" else "_" for c in name)
        if clean[:1].isdigit() or not clean:
            clean = f"x{clean}"
        if clean.startswith("_"):
            clean = f"v{clean}"  # helpers start with an underscore
        while any(f"{clean}{end}" in self.taken for end in self.ends):
            clean += "_"
        self.taken.update(f"{clean}{end}" for end in self.ends)
        return clean

    def tensor(self, name: str) -> str:
        """The variable of a whole tensor: an input, an output or a kept value."""
        if name not in self.tensors:
            self.tensors[name] = self._free(name.lstrip("%").replace("%", ""))
        return self.tensors[name]

    def size(self, name: str) -> str:
        """The variable of a size; of HERE, the position at hand."""
        return self.here if name == HERE else self.sizes[name]

    def value(self, name: str, hint: str = "") -> str:
        """The variable of a value: the hint if there is one (qk2 if qk is taken), S1 for a state, q_c for
        rows of q, x3 for the third step of a plan."""
        if name not in self.values:
            plain = name.lstrip("$%")
            if name[:1] == "$":
                plain = f"x{plain}" if plain[:1].isdigit() else f"{plain}_c"
            self.values[name] = self._numbered(hint) if hint else self._free(plain)
        return self.values[name]

    def _numbered(self, hint: str) -> str:
        """A free name after a hint."""
        if hint in self.taken:
            join = "_" if hint[-1:].isdigit() else ""
            hint = next(n for n in (f"{hint}{join}{k}" for k in count(2)) if n not in self.taken)
        return self._free(hint)
