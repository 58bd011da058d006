"""Compiles kernels of a generated module for a GPU that need not be there; run as a process of its own.

`python -m tensorc.triton_compile` reads one JSON request a line and answers each with one line: Triton's
interpreter and its compiler cannot share a process, and a compiler that aborts takes only this one along.

    {"path": ..., "function": name, "inputs": [[shape, dtype], ...], "keywords": {...}, "target": "sm_90",
     "narrow": false}
        ->  launches
    {"launch": one of those, "target": "sm_90"}  ->  {"registers": ..., "spilled": ..., "shared": ...}
"""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

DTYPES = {
    torch.float32: "fp32",
    torch.bfloat16: "bf16",
    torch.float16: "fp16",
    torch.int32: "i32",
    torch.int64: "i64",
    torch.bool: "i1",
}
MODULES: dict[str, Any] = {}


class Recorder:
    """Stands for a kernel: keeps what it would have been launched with."""

    def __init__(self, kernel: Any, module: str, launches: list[dict[str, Any]]) -> None:
        self.kernel, self.module, self.launches = kernel, module, launches

    def __getitem__(self, grid: object) -> Callable[..., None]:
        return self.launch

    def launch(self, *arguments: Any, **options: Any) -> None:
        """Note the types and constants of the arguments, as Triton's launcher specialises them."""
        signature, constants, aligned = {}, {}, []
        for at, (parameter, value) in enumerate(zip(self.kernel.params, arguments, strict=True)):
            name = parameter.name
            fixed = parameter.is_constexpr or (value == 1 and not parameter.do_not_specialize
                                               if isinstance(value, int) else False)  # fmt: skip
            if fixed:
                signature[name] = "constexpr"
                constants[name] = value if isinstance(value, int | str | float) else {"dtype": str(value)}
            elif isinstance(value, torch.Tensor):
                signature[name] = f"*{DTYPES[value.dtype]}"
                aligned.append(at)  # torch aligns what it allocates
            elif isinstance(value, int):
                signature[name] = "i32" if -(2**31) <= value < 2**31 else "i64"
                if value % 16 == 0 and not parameter.do_not_specialize:
                    aligned.append(at)
            else:
                raise TypeError(f"no type for {name}: {value!r}")
        self.launches.append(
            {
                "module": self.module,
                "kernel": self.kernel.fn.__name__,
                "signature": signature,
                "constants": constants,
                "aligned": aligned,
                "options": options,
            }
        )


def load(path: str) -> Any:
    """The module at a path."""
    if path not in MODULES:
        spec = importlib.util.spec_from_file_location(Path(path).stem, path)
        assert spec is not None and spec.loader is not None
        MODULES[path] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(MODULES[path])
    return MODULES[path]


def record(
    path: str,
    function: str,
    inputs: Sequence[tuple[Sequence[int], str]],
    keywords: Mapping[str, Any],
    target: str,
    narrow: bool,
) -> list[dict[str, Any]]:
    """The launches of a generated function on a target for inputs of these shapes and dtypes, where few heads
    make it prefer narrow kernels or not: nothing is computed."""
    module = load(path)
    launches: list[dict[str, Any]] = []
    namespace = dict(vars(module))
    for name, value in vars(module).items():
        if isinstance(value, triton.JITFunction) and not name.startswith("_"):
            namespace[name] = Recorder(value, path, launches)
    namespace["_family"] = lambda device: int(target[3:]) // 10 if target.startswith("sm_") else "hip"
    namespace["_split"] = lambda *_: (narrow, False)
    code = vars(module)[function]
    called = type(code)(code.__code__, namespace, function, code.__defaults__, code.__closure__)
    called.__kwdefaults__ = code.__kwdefaults__
    tensors = [torch.empty(shape, dtype=getattr(torch, dtype), device="meta") for shape, dtype in inputs]
    called(*tensors, **keywords)
    return launches


def compiled(launch: Mapping[str, Any], target: str) -> dict[str, Any]:
    """Compile a launch for a target: what the kernel needs of a multiprocessor."""
    kernel = getattr(load(launch["module"]), launch["kernel"])
    constants = {k: constant(v) for k, v in launch["constants"].items()}
    attributes = {(at,): [["tt.divisibility", 16]] for at in launch["aligned"]}
    source = ASTSource(kernel, dict(launch["signature"]), constants, attributes)
    device = (
        GPUTarget("cuda", int(target.removeprefix("sm_")), 32)
        if target.startswith("sm_")
        else GPUTarget("hip", target, 64 if target.startswith("gfx9") else 32)
    )
    built = triton.compile(source, target=device, options=dict(launch["options"]))
    used = (
        cuda_usage(built.asm["cubin"], built.asm["ptx"])
        if "cubin" in built.asm
        else hip_usage(built.asm["amdgcn"])
    )
    return {**used, "shared": built.metadata.shared}


def constant(value: Any) -> Any:
    """A constant of a kernel, from JSON."""
    if not isinstance(value, dict):
        return value
    return {
        "bf16": triton.language.bfloat16,
        "fp16": triton.language.float16,
        "fp32": triton.language.float32,
    }[value["dtype"]]


def cuda_usage(cubin: bytes, ptx: str) -> dict[str, int]:
    """Registers a thread, and bytes of those that did not fit."""
    from triton import knobs

    text = printed([knobs.nvidia.cuobjdump.path, "--dump-resource-usage"], cubin, ".cubin")
    found = re.search(r"REG:(\d+) STACK:(\d+)", text)
    assert found is not None, text
    return {"registers": int(found[1]), "spilled": spilled(ptx, int(found[2])) if int(found[2]) else 0}


def spilled(ptx: str, stack: int) -> int:
    """How much of a stack are registers that did not fit; all, where the assembler does not say."""
    model = re.search(r"^\.target (\w+)", ptx, re.MULTILINE)
    assert model is not None
    with tempfile.TemporaryDirectory() as folder:
        output = f"{folder}/kernel.cubin"
        command = [assembler(int(re.sub(r"\D", "", model[1]))), "-v", f"--gpu-name={model[1]}", "-o", output]
        spills = re.search(r"(\d+) bytes spill stores", printed(command, ptx.encode(), ".ptx"))
    return int(spills[1]) if spills is not None else stack


def assembler(architecture: int) -> str:
    """The assembler that Triton takes for a GPU."""
    from triton.backends.nvidia.compiler import get_ptxas

    try:
        return str(get_ptxas(architecture).path)
    except TypeError:  # Triton 3.4 has one for all
        return str(get_ptxas().path)


def printed(command: Sequence[str], content: bytes, suffix: str) -> str:
    """What a tool says of a file."""
    with tempfile.NamedTemporaryFile(suffix=suffix) as handle:
        handle.write(content)
        handle.flush()
        done = subprocess.run([*command, handle.name], check=False, capture_output=True, text=True)
        return done.stdout + done.stderr


def hip_usage(assembly: str) -> dict[str, int]:
    """Vector registers a thread, and bytes of its private memory."""

    def number(name: str) -> int:
        found = re.search(rf"\.{name}:\s+(\d+)", assembly)
        assert found is not None, name
        return int(found[1])

    return {"registers": number("vgpr_count"), "spilled": number("private_segment_fixed_size")}


def answer(request: Mapping[str, Any]) -> Any:
    """The answer to one request; an error as its text."""
    try:
        if "launch" in request:
            return compiled(request["launch"], request["target"])
        return record(**request)
    except Exception as error:  # whatever the compiler raises is the answer
        return {"error": f"{type(error).__name__}: {error}"}


def main() -> None:
    """Answer requests until there are no more. Whatever else prints goes to stderr."""
    out, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), file=out, flush=True)


if __name__ == "__main__":
    main()
