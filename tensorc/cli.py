"""The command line: `tensorc check|explain|compile|run|verify|bench FILE`.

Mistakes of the user end in a diagnostic on stderr and exit status 2, a failed verification in its
counterexample and status 1; neither in a traceback.
"""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

import tensorc
from tensorc.cli_arrays import load_inputs, output_format, print_outputs, save_outputs
from tensorc.errors import BackendError, LanguageError, TensorcError, VerificationError
from tensorc.ir import Program

LONGEST_TEXT = 64 * 1024  # the language refuses longer programs; never read more than that

app = typer.Typer(
    help="Compile attention variants written as index equations.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

File = Annotated[str, typer.Argument(metavar="FILE", help="A program, or - for standard input.")]
Def = Annotated[str | None, typer.Option("--def", metavar="NAME", help="Which program of the file.")]
Backend = Annotated[str, typer.Option(metavar="B", help="numpy, torch, triton or reference.")]
Form = Annotated[str, typer.Option(metavar="F", help="auto, parallel, chunkwise or recurrent.")]
Time = Annotated[str | None, typer.Option(metavar="SIZE", help="The time axis, where it is not clear.")]
Sizes = Annotated[
    list[str] | None, typer.Option("--size", metavar="NAME=INT", help="The value of a size; repeatable.")
]


def fail(message: str, status: int = 2) -> NoReturn:
    """Print a diagnostic to stderr and leave."""
    print(message, file=sys.stderr)
    raise typer.Exit(status)


@contextmanager
def diagnosed(file: str) -> Iterator[None]:
    """Turn every failure that a user can cause into a diagnostic."""
    try:
        yield
    except LanguageError as error:
        error.file = error.file or ("stdin" if file == "-" else file)
        fail(error.diagnostic())
    except VerificationError as error:
        fail(f"error: {error}", status=1)
    except TensorcError as error:
        fail(f"error: {error}")
    except MemoryError as error:
        fail(f"error: not enough memory ({error or 'no details'}). Smaller inputs, or another --form?")
    except BrokenPipeError:
        raise
    except OSError as error:
        fail(f"error: {error.filename or file}: {error.strerror or error}")


def read_program(file: str, name: str | None) -> Program:
    """Read and parse one program; unreadable files are a TensorcError."""
    try:
        if file == "-":
            text = sys.stdin.read(LONGEST_TEXT + 1)
        else:
            with open(file, encoding="utf-8") as handle:
                text = handle.read(LONGEST_TEXT + 1)
    except UnicodeDecodeError as error:
        raise TensorcError(
            f"{file} is not UTF-8 text (byte {error.start}). A program is plain text."
        ) from None
    except OSError as error:
        raise TensorcError(f"cannot read {file}: {error.strerror or error}") from None
    except ValueError as error:  # a NUL in the name
        raise TensorcError(f"cannot read {file!r}: {error}") from None
    program: Program = tensorc.parse(text, name)
    return program


def read_sizes(items: Sequence[str] | None) -> dict[str, int]:
    """["n=4096", "d=64"] -> {"n": 4096, "d": 64}."""
    sizes: dict[str, int] = {}
    for item in items or ():
        name, _, number = item.partition("=")
        name = name.strip()
        try:
            value = int(number)
        except ValueError:
            value = -1
        if not name.isidentifier() or value < 0:
            raise TensorcError(f"--size {item}: write NAME=INT with INT >= 0, such as --size n=4096")
        if name in sizes:
            raise TensorcError(f"--size {item}: {name} is given twice")
        sizes[name] = value
    return sizes


def build(program: Program, backend: str, form: str, time: str | None, sizes: dict[str, int]) -> Any:
    """The compiled program. Only sizes that inputs may leave open are fixed here, the rest at the report."""
    return tensorc.compile(program, backend=backend, form=form, time=time, sizes=sizes or None)


@app.command()
def check(
    file: File,
    name: Def = None,
    backend: Backend = "numpy",
    form: Form = "auto",
    time: Time = None,
    size: Sizes = None,
) -> None:
    """Read a program and say whether it is well formed, and whether the form asked for exists."""
    with diagnosed(file):
        program = read_program(file, name)
        build(program, backend, form, time, read_sizes(size))
        inputs = ", ".join(str(t) for t in map(signature, program.inputs))
        outputs = ", ".join(str(t) for t in map(signature, program.outputs))
        print(f"{program.name}({inputs}) -> {outputs}: ok")


def signature(tensor: Any) -> str:
    """q[n, d]"""
    return f"{tensor.name}[{', '.join(map(str, tensor.axes))}]"


@app.command()
def explain(
    file: File,
    name: Def = None,
    backend: Backend = "numpy",
    form: Form = "auto",
    time: Time = None,
    size: Sizes = None,
    as_json: Annotated[bool, typer.Option("--json", help="Everything, as JSON.")] = False,
    html: Annotated[
        Path | None, typer.Option(metavar="OUT", help="Write a page with pictures there, not to stdout.")
    ] = None,
) -> None:
    """Report the forms, their costs, the contraction order, and what was refused and why."""
    with diagnosed(file):
        sizes = read_sizes(size)
        report = build(read_program(file, name), backend, form, time, sizes).report(**sizes)
        if html is not None:
            report.to_html(html)
        if as_json or html is None:
            print(json.dumps(report.to_dict(), indent=2) if as_json else report)


@app.command("compile")
def compile_(
    file: File,
    name: Def = None,
    backend: Backend = "numpy",
    form: Form = "auto",
    time: Time = None,
    size: Sizes = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="Write there, not to stdout.")
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(metavar="T", help="With --backend triton: compile the kernels for sm_90, gfx942, ... "
                     "and print what they need instead; repeatable. No GPU is needed."),
    ] = None,
) -> None:  # fmt: skip
    """Print the generated source, which stands alone and never imports tensorc."""
    with diagnosed(file):
        sizes = read_sizes(size)
        operator = build(read_program(file, name), backend, form, time, sizes)
        source = operator.source(**sizes)
        if output is not None:
            output.write_text(source, encoding="utf-8")
        elif not target:
            print(source.rstrip("\n"))
        if target:
            print_targets(operator, sizes, target)


def print_targets(operator: Any, sizes: dict[str, int], targets: Sequence[str]) -> None:
    """What the kernels of an operator need on targets; a kernel that cannot run there is a BackendError."""
    if operator.backend != "triton":
        raise BackendError("--target is for kernels: add --backend triton.")
    from tensorc.triton_targets import SHARED, table, usages

    found = list(usages([(operator, sizes)], targets))
    print(table(found))
    for one in found:
        if one.problem:
            raise BackendError(f"{one.kernel} does not compile for {one.target}: {one.problem}")
        if one.shared > SHARED[one.target]:
            raise BackendError(
                f"{one.kernel} needs {one.shared} bytes of shared memory; {one.target} has "
                f"{SHARED[one.target]}. Try smaller sizes, or 16-bit inputs."
            )


@app.command()
def run(
    file: File,
    arrays: Annotated[
        list[Path] | None, typer.Argument(metavar="ARRAY.npy...", help="The inputs, in signature order.")
    ] = None,
    inputs: Annotated[
        Path | None, typer.Option(metavar="IN.npz", help="All inputs by name, instead of single files.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="OUT", help="OUT.npy for one output, OUT.npz for any number."),
    ] = None,
    name: Def = None,
    backend: Backend = "numpy",
    form: Form = "auto",
    time: Time = None,
    size: Sizes = None,
) -> None:
    """Run a program on arrays. Without -o, describe the outputs and print the small ones."""
    with diagnosed(file):
        program = read_program(file, name)
        names = [tensor.name for tensor in program.outputs]
        kind = output_format(output, len(names))
        operator = build(program, backend, form, time, read_sizes(size))
        values = load_inputs([tensor.name for tensor in program.inputs], arrays or [], inputs)
        result = operator(*values)
        outputs = dict(zip(names, result if isinstance(result, tuple) else (result,), strict=True))
        if output is None or kind is None:
            print_outputs(outputs)
        else:
            save_outputs(outputs, output, kind)


@app.command()
def verify(
    file: File,
    name: Def = None,
    backend: Backend = "numpy",
    form: Form = "auto",
    time: Time = None,
    size: Sizes = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the random exact inputs.")] = 0,
    time_limit: Annotated[
        float | None, typer.Option(metavar="SECONDS", min=0, help="Stop after this long.")
    ] = None,
    causal: Annotated[bool, typer.Option("--causal", help="Fail if a later token leaks.")] = False,
) -> None:
    """Prove on exact numbers that every form equals the definition; say which outputs are causal."""
    with diagnosed(file):
        operator = build(read_program(file, name), backend, form, time, read_sizes(size))
        print(operator.verify(seed=seed, time_limit=time_limit, causal=True if causal else None))


@app.command()
def bench(
    file: File,
    name: Def = None,
    backend: Backend = "numpy",
    form: Form = "auto",
    time: Time = None,
    size: Sizes = None,
    heads: Annotated[int, typer.Option(min=1, help="The batch of every input.")] = 1,
    rounds: Annotated[int, typer.Option(min=3, help="How often each form runs.")] = 9,
) -> None:
    """Time every form on random inputs, in turn, beside the cost model's word."""
    from tensorc.timing import time_forms

    with diagnosed(file):
        sizes = read_sizes(size)
        operator = build(read_program(file, name), backend, form, time, sizes)
        print(time_forms(operator, sizes, batch=(heads,) if heads > 1 else (), rounds=rounds))


def main() -> NoReturn:
    """Run the command of `sys.argv` and exit: 0 done, 1 verification failed, 2 the user's mistake."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that knows ASCII alone
    status: str | int | None = 0
    try:
        try:
            app()
        except SystemExit as exit_:
            status = exit_.code
        sys.stdout.flush()
    except BrokenPipeError:  # the reader went away, as `| head` does: nobody is left to tell
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 1
    sys.exit(status)
