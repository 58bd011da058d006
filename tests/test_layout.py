"""The house itself: packages, the direction of dependencies, what `import tensorc` loads, the wheel."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import networkx as nx
import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = {
    "tensorc": "tensorc",
    "tensorc.grammar": "grammar",
    "tensorc.passes": "passes",
    "tensorc.backends": "backends",
}
SHIPPED = sorted(path for folder in FOLDERS.values() for path in (ROOT / folder).rglob("*.py"))
OTHERS = sorted(
    path for folder in ("tests", "examples", "benchmarks") for path in (ROOT / folder).rglob("*.py")
)
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def module_name(path: Path) -> str:
    """The name a file of the four folders is imported by."""
    parts = list(path.relative_to(ROOT).with_suffix("").parts)
    parts = parts if parts[0] == "tensorc" else ["tensorc", *parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in SHIPPED}


def imports(tree: ast.AST, *, nested: bool) -> Iterator[tuple[ast.stmt, str]]:
    """Names of the modules a file imports; with `nested`, also inside functions. TYPE_CHECKING is skipped."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from ((node, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            yield node, base
            for alias in node.names:
                if f"{base}.{alias.name}" in MODULES:
                    yield node, f"{base}.{alias.name}"
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        elif nested or not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            yield from imports(node, nested=nested)


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def role(module: str) -> str:
    """tensorc.passes.relation -> passes; tensorc.ir -> tensorc."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in ("grammar", "passes", "backends") else parts[0]


def test_the_package_list_equals_the_folders() -> None:
    setuptools = PYPROJECT["tool"]["setuptools"]
    assert setuptools["package-dir"] == FOLDERS
    found = {
        ".".join(module_name(init).split("."))
        for folder in FOLDERS.values()
        for init in (ROOT / folder).rglob("__init__.py")
    }
    assert set(setuptools["packages"]) == found
    for folder in FOLDERS.values():
        for path in (ROOT / folder).rglob("*.py"):
            assert (path.parent / "__init__.py").exists(), f"{path.parent} is not a package"


def test_type_checkers_see_every_file() -> None:
    links = ROOT / ".typing" / "tensorc"
    wanted = {p.name for p in (ROOT / "tensorc").iterdir() if p.name != "__pycache__"}
    wanted |= {"grammar", "passes", "backends"}
    assert {p.name for p in links.iterdir()} == wanted, "run `make links`"
    assert all(p.is_symlink() and p.resolve().exists() for p in links.iterdir())


@pytest.mark.parametrize("path", SHIPPED + OTHERS, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_are_absolute_and_never_of_the_bare_folders(path: Path) -> None:
    for node, name in imports(parsed(path), nested=True):
        assert not (isinstance(node, ast.ImportFrom) and node.level), f"{path}:{node.lineno}: relative import"
        assert name.split(".")[0] not in ("grammar", "passes", "backends"), f"{path}:{node.lineno}: {name}"


def test_lint_bans_the_bare_folders() -> None:
    banned = PYPROJECT["tool"]["ruff"]["lint"]["flake8-tidy-imports"]["banned-api"]
    assert set(banned) == {"grammar", "passes", "backends"}


# The driver knows grammar, passes and backends, the tracing front end the grammar; verification compares
# what the passes and the backends made with the definition.
DRIVER = {"tensorc.compiler", "tensorc.documents", "tensorc.forms", "tensorc.gradient", "tensorc.operator"}
DRIVER |= {"tensorc.approximation", "tensorc.score_bounds"}
DRIVER |= {"tensorc.torch_gradient", "tensorc.torch_operator", "tensorc.triton_operator"}
DRIVER |= {"tensorc.triton_targets"}
VERIFIER = re.compile(r"tensorc\.verify\w*")
FRONT_END = re.compile(r"tensorc\.(trac(e_\w+|ing)|jit|decorator|signature)")


@pytest.mark.parametrize("module", sorted(MODULES))
def test_dependencies_point_one_way(module: str) -> None:
    for node, name in imports(parsed(MODULES[module]), nested=True):
        if name.split(".")[0] != "tensorc" or role(name) == role(module) or module in DRIVER:
            continue
        place = f"{module}:{node.lineno} imports {name}"
        if VERIFIER.fullmatch(module):
            assert role(name) in ("passes", "backends"), place
        elif role(module) == "tensorc":
            assert role(name) == "grammar" and FRONT_END.fullmatch(module), place
        else:
            assert role(name) == "tensorc" and name not in DRIVER and not FRONT_END.fullmatch(name), place


def test_no_import_cycles() -> None:
    graph: nx.DiGraph[str] = nx.DiGraph()
    for module, path in MODULES.items():
        for _, name in imports(parsed(path), nested=False):
            if name in MODULES and name != module and not name == "tensorc":
                graph.add_edge(module, name)
    assert list(nx.simple_cycles(graph)) == []


def run_python(*arguments: str, cwd: Path | None = None) -> str:
    result = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, cwd=cwd, timeout=120, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_import_loads_numpy_alone() -> None:
    heavy = "torch triton networkx opt_einsum lark rich typer platformdirs jinja2 cotengra".split()
    code = f"import sys, tensorc; print([m for m in {heavy!r} if m in sys.modules])"
    assert run_python("-c", code).strip() == "[]"


def test_the_wheel_holds_the_one_package_and_runs(tmp_path: Path) -> None:
    source = tmp_path / "source"
    files = ["pyproject.toml", "README.md", *FOLDERS.values()]
    source.mkdir()
    for name in files:
        subprocess.run(["cp", "-R", str(ROOT / name), str(source / name)], check=True)
    run_python(
        "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index",
        "--wheel-dir", str(tmp_path), str(source),
    )  # fmt: skip
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(tmp_path / "site")
    roots = {name.split("/")[0] for name in names}
    assert {r for r in roots if not r.endswith(".dist-info")} == {"tensorc"}
    assert "tensorc/grammar/tensorc.lark" in names
    assert "tensorc/py.typed" in names and "tensorc/report.html.jinja" in names
    assert {f"{m.replace('.', '/')}.py" for m in MODULES if MODULES[m].name != "__init__.py"} <= set(names)
    # The unpacked wheel in place of the checkout: the first entry of the path, and no editable finder.
    code = (
        "import sys; sys.meta_path[:] = [f for f in sys.meta_path if 'editable' not in repr(f)]; "
        f"sys.path.insert(0, {str(tmp_path / 'site')!r}); import tensorc, runpy; "
        "assert 'site' in tensorc.__file__, tensorc.__file__; "
        "sys.argv = ['tensorc', '--help']; runpy.run_module('tensorc', run_name='__main__')"
    )
    assert "explain" in run_python("-c", code, cwd=tmp_path)


def test_the_compiler_knows_no_operator_by_name() -> None:
    operators = [path.stem for path in (ROOT / "examples").glob("*.tc")]
    everyday = {"attention", "gated", "normalised", "power", "triple", "based", "retention"}  # English, too
    names = sorted(set(operators) - everyday) + ["retnet", "mamba", "deltanet", "hla"]
    pattern = re.compile(r"(?<![A-Za-z0-9_])(" + "|".join(names) + r")(?![A-Za-z0-9_])", re.IGNORECASE)
    for path in SHIPPED:
        for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            assert not pattern.search(text), f"{path.relative_to(ROOT)}:{number}: {text.strip()}"


def test_every_dependency_is_pinned_for_the_tests() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    project = PYPROJECT["project"]
    wanted = [*project["dependencies"], *sum(project["optional-dependencies"].values(), [])]
    assert set(pins) == {re.split(r"[<>=]", requirement)[0] for requirement in wanted}


def test_set_up_needs_no_address_of_a_package_index() -> None:
    for name in ("Makefile", ".ci/run", "pyproject.toml", "constraints.txt"):
        text = (ROOT / name).read_text()
        assert "://" not in text and "index-url" not in text, name
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    assert "make test" in (ROOT / ".ci" / "run").read_text()


def test_no_machine_paths_in_the_project() -> None:
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    files = [ROOT / name for name in listing.stdout.split("\0") if name] or [*SHIPPED, *OTHERS]
    pattern = re.compile("/" + r"(?:home|root|work|Users|tmp|opt)/\w")
    for path in files:
        if path.is_symlink() or not path.is_file() or path.suffix in (".npy", ".npz"):
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            assert not pattern.search(line), f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
