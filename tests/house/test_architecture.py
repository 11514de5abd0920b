"""The house rules that a machine can check: import direction, lazy start, file sizes, generated pages."""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
ORDER = ("traces", "analyzer", "replay", "reports", "segcast")
HEAVY = ("numba", "numpy", "pyarrow", "polars", "plotly", "pydantic", "rich", "dpkt", "jinja2")
SOURCES = sorted(file for package in ORDER for file in (ROOT / package).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))


def package_of(module: str) -> str:
    """The package of the house that a module belongs to: `traces` of `segcast.traces.units`, else its first name."""
    first, *rest = module.split(".")
    return rest[0] if first == "segcast" and rest and rest[0] in ORDER else first


def imported(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (package_of(alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            yield from {package_of(f"{node.module}.{alias.name}") for alias in node.names}


def test_imports_point_from_right_to_left() -> None:
    for file in SOURCES:
        mine = ORDER.index(package_of(".".join(file.relative_to(ROOT).parts)))  # an sdist has them all in segcast/
        for name in imported(file):
            assert name != "tests", file.relative_to(ROOT)
            if name in ORDER:
                assert ORDER.index(name) <= mine, f"{file.relative_to(ROOT)} imports {name}"


def test_twins_share_no_code_with_the_product() -> None:
    for file in (ROOT / "tests" / "twins").glob("*.py"):
        assert not set(imported(file)) & set(ORDER), file


def test_the_second_decoder_alone_imports_dpkt() -> None:
    assert [file.name for file in SOURCES if "dpkt" in imported(file)] == ["cross_check.py"]


def test_help_imports_nothing_heavy() -> None:
    code = "import atexit, sys, segcast.cli; atexit.register(lambda: print(*sys.modules, file=sys.stderr))"
    code += "; segcast.cli.cli(['--help'])"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "forecast" in run.stdout
    assert not set(HEAVY) & set(run.stderr.split())


def test_folders_are_imported_under_segcast() -> None:
    """`traces` and the like are names of public distributions: a bare import could be theirs."""
    everywhere = (*ORDER, "tests", "benchmarks", "docs")
    for file in (file for folder in everywhere for file in (ROOT / folder).rglob("*.py")):
        bare = re.findall(rf"^\s*(?:from|import) ({'|'.join(ORDER[:-1])})\b", file.read_text("utf-8"), re.MULTILINE)
        assert not bare, f"{file.relative_to(ROOT)} imports {bare[0]}"


def test_folders_hold_few_rooms() -> None:
    for package in ORDER:
        for folder in {file.parent for file in (ROOT / package).rglob("*.py")}:
            rooms = [file for file in folder.glob("*.py") if file.name != "__init__.py"]
            assert len(rooms) <= 16 or (folder / "registry.py").exists(), folder.relative_to(ROOT)


def test_no_test_file_imports_another() -> None:
    """What several need lies in tests/support/: so each file runs alone, and none runs for what another borrows."""
    for file in TESTS:
        borrowed = re.findall(r"^\s*(?:from|import) (tests\.\S*\btest_\w+)", file.read_text("utf-8"), re.MULTILINE)
        assert not borrowed, f"{file.relative_to(ROOT)} imports {borrowed[0]}"


def test_files_do_one_job() -> None:
    for file in SOURCES + TESTS:
        assert len(file.read_text("utf-8").splitlines()) <= 450, file.relative_to(ROOT)
        assert file.stem != "utils", file.relative_to(ROOT)


def module_of(file: Path) -> Any:
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


STALE = """
import runpy
from pathlib import Path
generate = runpy.run_path("docs/generate.py")
readme = Path("README.md").read_text("utf-8")
pages = {f"docs/{name}": page() for name, page in generate["PAGES"].items()}
pages["README.md"] = generate["readme"](readme, generate["demo_output"]())
print(*(name for name, made in pages.items() if Path(name).read_text("utf-8") != made))
"""


def test_generated_pages_are_fresh() -> None:
    """In a process of its own: other tests register policies, which the pages would list."""
    done = subprocess.run([sys.executable, "-c", STALE], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stdout.split(), f"{done.stdout.strip()}: stale, run make docs"


def test_every_field_of_a_document_has_a_meaning() -> None:
    """docs/tables.md has them; what is declared beside the documents of that page is for one file alone."""
    from segcast.traces.disk.documents import Shape

    pending: list[type[Shape]] = [*module_of(ROOT / "docs" / "generate.py").DOCUMENTS.values(), Shape]
    seen: set[type[Shape]] = set()
    while pending:
        shape = pending.pop()
        if shape in seen or (shape.__name__.startswith("_") and not shape.__subclasses__()):
            continue
        seen.add(shape)
        pending += shape.__subclasses__()
        for name, field in shape.model_fields.items():
            meaning = field.description or ""
            assert len(meaning) > 5 and meaning.strip(".") == meaning, f"{shape.__name__}.{name}"
    assert len(seen) > 30


def test_what_the_docs_register_runs(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "policies.md").read_text("utf-8")
    for number, code in enumerate(re.findall(r"```python\n(.*?)```", text, re.DOTALL)):
        (tmp_path / f"documented{number}.py").write_text(code)
        module_of(tmp_path / f"documented{number}.py")
    from segcast.analyzer.detectors.registry import find_detector
    from segcast.analyzer.policies.registry import find_policy
    from tests.support.policies import GBPS, US, network, run, sent

    packets, slower = (sent([n * gap_ns for n in range(100)]) for gap_ns in (20 * US, 20 * US + 1))
    of = network(GBPS, GBPS, ecn=[0, 0])
    moves = run("shy", of, packets, timeout_ns=0)
    assert set(moves.path.tolist()) == {0, 1}
    assert set(run("shy", of, packets, timeout_ns=0, shun_ns=0).path.tolist()) == {0}
    last = {"detector": find_detector("last"), "timeout_ns": None}  # a round trip takes 20 us
    assert int(run("random", network(GBPS, GBPS), packets, **last).flowlet.max()) == 0
    assert int(run("random", network(GBPS, GBPS), slower, **last).flowlet.max()) == 99
    assert find_policy("shy").learns


def test_links_in_the_docs_lead_somewhere() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), ROOT / "CONTRIBUTING.md"]:
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text("utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_docs_name_only_commands_that_exist() -> None:
    from segcast.cli import cli

    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        named = set(re.findall(r"^\s*\$? ?segcast ([a-z]+)", page.read_text("utf-8"), re.MULTILINE))
        assert named <= set(cli.commands), page.name
