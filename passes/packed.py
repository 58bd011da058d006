"""Documents packed in one sequence: the program of which each document sees itself alone.

Along the time axis the documents follow one another; a new input numbers them. Then

    every token that a reduction or a softmax runs over     is of the document of the tokens around it
    a shift, T[i - 1]                                       reads 0 from another document
    a position or the length, where more than their         come as inputs: the position in the token's
    difference counts (i % 2, i // b, 1 / n)                document, and the document's length
    a tensor made of the whole sequence (no time axis)      is one for each token's document

so the result for packed documents is that for each alone, one after another. With an order beside them
the new relations are segments, and every form stays what it was.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from tensorc.errors import FormError
from tensorc.ir import (
    Add,
    And,
    Bind,
    Call,
    Compare,
    Cond,
    Equation,
    Expr,
    Extent,
    Index,
    Iverson,
    Mul,
    Neg,
    Node,
    Program,
    Read,
    Reduce,
    Size,
    Softmax,
    TensorDecl,
    conjuncts,
    reads,
    rebuild,
    substitute,
    walk,
)
from tensorc.passes.packed_positions import ends_of, indices_of, relative, weights
from tensorc.printing import print_expr

DOCUMENT, POSITION, LENGTH = "document", "position", "length"


@dataclass(frozen=True, slots=True)
class Packed:
    """A program of packed documents, and what each input means that it has more than the original: of
    every token, the number of its document, its position there, or the document's length."""

    program: Program
    added: tuple[str, ...]


def packed(program: Program, time: Extent) -> Packed:
    """The program for documents packed along the axis `time`, with integer inputs after its own.

    Raises `FormError` for what one pass over the packed sequence cannot express: an output without the
    time axis, or a position on that axis that is not a token's own plus a shift.

    >>> from tensorc.grammar import parse
    >>> from tensorc.ir import extent
    >>> program = parse("def f(x[n]) -> y[n]:  y[i] = sum[j <= i](x[j]) + x[i - 1]")
    >>> print(str(packed(program, extent("n")).program).strip())
    def f(x[n], document[n]) -> y[n]:
        y[i] = sum[j <= i, document[j] == document[i]](x[j]) + [document[i - 1] == document[i]] * x[i - 1]
    """
    return _Packer(program, time).packed()


@dataclass(slots=True)
class _Scope:
    """The token indices in scope, which are all of one document, and the one that stands for them."""

    tokens: frozenset[str]
    root: str


@dataclass(slots=True)
class _Packer:
    """Rewrites the equations of one program."""

    program: Program
    time: Extent
    lengths: frozenset[str] = field(init=False)
    taken: set[str] = field(init=False)
    lifted: frozenset[str] = field(init=False)
    names: dict[str, str] = field(init=False)
    used: set[str] = field(default_factory=set)
    line: int | None = None

    def __post_init__(self) -> None:
        self.lengths = frozenset(self.time.names)
        self.taken = {*self.program.tensors(), *self.program.sizes(), *indices_of(self.program)}
        self.names = {kind: self._fresh(kind) for kind in (DOCUMENT, POSITION, LENGTH)}
        self.lifted = self._made_of_the_sequence()

    def packed(self) -> Packed:
        program = self.program
        for decl in program.tensors().values():
            for axis in decl.axes:
                if axis != self.time and self.lengths & set(axis.names):
                    raise FormError(
                        f"{decl.name} has the axis {axis}: documents are packed along {self.time} alone."
                    )
        for decl in program.outputs:
            if decl.name in self.lifted:
                raise FormError(
                    f"The output {decl.name} has no axis {self.time}: it is one of each document, which "
                    "the packed sequence has no place for."
                )
        equations = tuple(self._equation(e) for e in program.equations)
        added = tuple(kind for kind in (DOCUMENT, POSITION, LENGTH) if kind in self.used)
        inputs = tuple(TensorDecl(self.names[kind], (self.time,)) for kind in added)
        lifted = tuple(
            replace(d, axes=(self.time, *d.axes)) if d.name in self.lifted else d for d in program.locals
        )
        made = replace(
            program, inputs=(*program.inputs, *inputs), locals=lifted, equations=equations, text=None
        )
        return Packed(made, added)

    # -- what is of the whole sequence -------------------------------------------------------------------

    def _made_of_the_sequence(self) -> frozenset[str]:
        """Tensors without a time axis that depend on the tokens, or on how many there are."""
        declared = self.program.tensors()
        found: set[str] = set()
        grown = True
        while grown:
            grown = False
            for equation in self.program.equations:
                if equation.target in found or self.time in declared[equation.target].axes:
                    continue
                if reads(equation.body) & found or any(self._of_tokens(n) for n in walk(equation.body)):
                    found.add(equation.target)
                    grown = True
        return frozenset(found)

    def _of_tokens(self, node: Node) -> bool:
        match node:
            case Reduce(binds=binds) | Softmax(over=binds):
                return any(b.extent == self.time for b in binds)
            case Size(name=name):
                return name in self.lengths
            case Read(tensor=tensor):
                return self.time in self.program.tensors()[tensor].axes
        return False

    # -- equations ---------------------------------------------------------------------------------------

    def _equation(self, equation: Equation) -> Equation:
        self.line = equation.body.span.line if equation.body.span else None
        body = equation.body
        left = equation.left
        if equation.target in self.lifted:
            left = (Bind(self._fresh("i"), self.time), *left)
        tokens = [b.name for b in left if b.extent == self.time]
        if not tokens:
            return equation
        body = self._visit(body, _Scope(frozenset(tokens), tokens[0]))
        is_output = any(d.name == equation.target for d in self.program.outputs)
        if len(tokens) > 1 and is_output:  # an output of pairs is 0 across documents
            body = _times([self._same(t, tokens[0]) for t in tokens[1:]], body)
        return replace(equation, left=left, body=body)

    def _visit(self, node: Expr, scope: _Scope) -> Expr:
        match node:
            case Reduce(binds=binds):
                inner, domain = self._domain(binds, node.domain, scope)
                return replace(node, domain=domain, body=self._visit(node.body, inner))
            case Softmax():
                return self._softmax(node, scope)
            case Read():
                return self._read(node, scope)
            case Index(name=name) if name in scope.tokens:
                return self._of(POSITION, name)
            case Size(name=name) if name in self.lengths:
                return self._of(LENGTH, scope.root)
        if relative(node, scope.tokens, self.lengths):
            return node
        return rebuild(node, lambda child: self._child(child, scope))

    def _child(self, child: Node, scope: _Scope) -> Node:
        if isinstance(child, Compare):
            return self._comparison(child, scope)
        if isinstance(child, Cond):
            return rebuild(child, lambda part: self._child(part, scope))
        return self._visit(child, scope)

    def _comparison(self, condition: Compare, scope: _Scope) -> Cond:
        """A condition; of two tokens of one document it is what it was."""
        if relative(Add((condition.left, Neg(condition.right))), scope.tokens, self.lengths):
            return condition
        return rebuild(condition, lambda part: self._visit(part, scope))

    # -- reductions ----------------------------------------------------------------------------------------

    def _domain(
        self, binds: Iterable[Bind], domain: tuple[Cond, ...], scope: _Scope
    ) -> tuple[_Scope, tuple[Cond, ...]]:
        """The scope inside a reduction, and its domain: every bound token is of the document outside."""
        pending = [b.name for b in binds if b.extent == self.time]
        known, added = set(scope.tokens), list[Cond]()
        compared = conjuncts(domain)
        while pending:
            ends = {token: ends_of(compared, token, known) for token in pending}
            between = next((t for t, (low, high) in ends.items() if low and high), None)
            if between is None:  # a relation is best beside an order on the same pair
                token = next((t for t in pending if any(ends[t])), pending[0])
                low, high = ends[token]
                near = [t for t in (scope.root, *sorted(scope.tokens), *sorted(known)) if t in low | high]
                added.append(self._same(token, near[0] if near else scope.root))
            pending.remove(between or token)
            known.add(between or token)
        inner = _Scope(frozenset(known), scope.root)
        old = tuple(self._condition(c, inner) for c in domain)
        return inner, (*old, *added)

    def _condition(self, condition: Cond, scope: _Scope) -> Cond:
        found = self._child(condition, scope)
        assert isinstance(found, Cond)
        return found

    def _softmax(self, node: Softmax, scope: _Scope) -> Expr:
        own = {b.name for b in node.over if b.extent == self.time}
        others = scope.tokens - own
        if not own:
            domain = tuple(self._condition(c, scope) for c in node.domain)
            return replace(node, domain=domain, body=self._visit(node.body, scope))
        if others:
            root = scope.root if scope.root in others else min(others)
            inner, domain = self._domain(node.over, node.domain, _Scope(frozenset(others), root))
            return replace(node, domain=domain, body=self._visit(node.body, inner))
        # No token stands still: the total is that of the document of the token itself.
        names = {b.name: self._fresh(b.name) for b in node.over}
        to = {old: Index(new) for old, new in names.items()}
        binds = tuple(Bind(names[b.name], b.extent) for b in node.over)
        total = Reduce(
            "logsumexp", binds, tuple(substitute(c, to) for c in node.domain), substitute(node.body, to)
        )
        share = Call("exp", (_plus(self._visit(node.body, scope), Neg(self._visit(total, scope))),))
        return _times([self._condition(c, scope) for c in node.domain], share)

    # -- reads ---------------------------------------------------------------------------------------------

    def _read(self, node: Read, scope: _Scope) -> Expr:
        if node.tensor in self.lifted:
            own = tuple(self._subscript(node, s, scope) for s in node.subscripts)
            return replace(node, subscripts=(Index(scope.root), *own))
        axes = self.program.tensors()[node.tensor].axes
        inside: list[Cond] = []
        for subscript, axis in zip(node.subscripts, axes, strict=True):
            if axis != self.time:
                self._subscript(node, subscript, scope)
                continue
            if isinstance(subscript, Index) and subscript.name in scope.tokens:
                continue
            counted = weights(subscript, scope.tokens, self.lengths)
            if counted is None or sum(counted.values()) != 1:
                raise self._refusal(node, subscript)
            there = Read(self.names[DOCUMENT], (subscript,))
            inside.append(Compare("==", there, self._of(DOCUMENT, min(counted))))
        return _times(inside, node)

    def _subscript(self, node: Read, subscript: Expr, scope: _Scope) -> Expr:
        """A subscript of another axis, which no position in the packed sequence may enter."""
        if not relative(subscript, scope.tokens, self.lengths):
            raise self._refusal(node, subscript)
        return subscript

    def _refusal(self, node: Read, subscript: Expr) -> FormError:
        line = node.span.line if node.span else self.line
        return FormError(
            f"{node.tensor} is read at {print_expr(subscript)}{f' (line {line})' if line else ''}, which is "
            f"not a token of {self.time} plus a shift: in packed documents it is another place in each."
        )

    # -- the new inputs ------------------------------------------------------------------------------------

    def _of(self, kind: str, token: str) -> Read:
        self.used.add(kind)
        return Read(self.names[kind], (Index(token),))

    def _same(self, token: str, other: str) -> Compare:
        return Compare("==", self._of(DOCUMENT, token), self._of(DOCUMENT, other))

    def _fresh(self, wish: str) -> str:
        name, number = wish, 1
        while name in self.taken:
            number += 1
            name = f"{wish}_{number}"
        self.taken.add(name)
        return name


def _times(conditions: list[Cond], body: Expr) -> Expr:
    """The body where all conditions hold, else 0."""
    if not conditions:
        return body
    mask = Iverson(conditions[0] if len(conditions) == 1 else And(tuple(conditions)))
    return Mul((mask, *(body.factors if isinstance(body, Mul) else (body,))))


def _plus(first: Expr, second: Expr) -> Expr:
    return Add((*(first.terms if isinstance(first, Add) else (first,)), second))
