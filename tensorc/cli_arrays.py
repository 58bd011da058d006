"""Arrays in files, for the command line: .npy and .npz in, either out. Nothing is ever unpickled."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tensorc.errors import ShapeError, TensorcError

Array = NDArray[np.generic]


def load_inputs(names: Sequence[str], files: Sequence[Path], archive: Path | None) -> list[Array]:
    """The inputs in signature order, from one file each or from one archive that holds them by name."""
    wanted = f"{len(names)} inputs: {', '.join(names)}" if names else "no inputs"
    if archive is None:
        if len(files) != len(names):
            raise ShapeError(f"the program takes {wanted}; {len(files)} arrays were given")
        return [load_array(file) for file in files]
    if files:
        raise ShapeError("give the inputs either as .npy files or with --inputs, not both")
    found = load_archive(archive)
    missing = [name for name in names if name not in found]
    if missing:
        have = ", ".join(found) or "nothing"
        raise ShapeError(f"{archive} lacks {', '.join(missing)}: the program takes {wanted}; it holds {have}")
    return [found[name] for name in names]


def load_array(file: Path) -> Array:
    """One .npy file."""
    value = _load(file)
    if not isinstance(value, np.ndarray):
        raise TensorcError(f"{file} is an archive of arrays: pass it as --inputs {file}")
    return _numeric(value, str(file))


def load_archive(file: Path) -> dict[str, Array]:
    """All arrays of a .npz file by name."""
    value = _load(file)
    if isinstance(value, np.ndarray):
        raise TensorcError(f"{file} is a single array; --inputs takes a .npz archive")
    return {name: _numeric(array, f"{name} in {file}") for name, array in value.items()}


def _load(file: Path) -> Array | dict[str, Array]:
    try:
        value = np.load(file, allow_pickle=False)
        if isinstance(value, np.ndarray):
            return value
        with value:
            return {name: value[name] for name in value.files}
    except FileNotFoundError:
        raise TensorcError(f"cannot read {file}: no such file") from None
    except MemoryError:
        raise TensorcError(f"cannot read {file}: it claims more elements than fit into memory") from None
    except Exception as error:  # a damaged file fails in numpy, zipfile, zlib or ast, each in its own way
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        if "allow_pickle" in reason or "pickled" in reason:
            reason = "it is no array of numbers (pickled objects are never loaded)"
        raise TensorcError(f"cannot read {file}: {reason or type(error).__name__}") from None


def _numeric(value: object, where: str) -> Array:
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "biuf":
        kind = value.dtype if isinstance(value, np.ndarray) else "bytes"
        raise TensorcError(f"{where} holds {kind}; inputs are floats, integers or booleans")
    return value


def output_format(file: Path | None, count: int) -> str | None:
    """What to write, .npy or .npz, by the name of the file."""
    if file is None:
        return None
    if file.suffix not in (".npy", ".npz"):
        raise TensorcError(f"-o {file}: the name must end in .npy or .npz")
    if file.suffix == ".npy" and count != 1:
        raise TensorcError(f"-o {file}: the program has {count} outputs; write an archive, such as out.npz")
    return file.suffix


def save_outputs(outputs: Mapping[str, Array], file: Path, kind: str) -> None:
    """Write one array, or all of them by name."""
    with open(file, "wb") as handle:
        if kind == ".npy":
            (value,) = outputs.values()
            np.save(handle, value, allow_pickle=False)
        else:
            with zipfile.ZipFile(handle, "w") as archive:  # np.savez fails on an output named `file`
                for name, value in outputs.items():
                    with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                        np.lib.format.write_array(member, np.asarray(value), allow_pickle=False)


def print_outputs(outputs: Mapping[str, Array]) -> None:
    """One line for each output; small ones in full."""
    for name, value in outputs.items():
        print(f"{name}: {value.dtype} {tuple(value.shape)}")
        if value.size <= 64:
            print(np.array2string(np.asarray(value), precision=6, max_line_width=100))
