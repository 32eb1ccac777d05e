"""``make mutants``: changes one small thing at a time in the engine and the record reader; do the tests notice?

Each mutant is run in a copy of the project against the test files that run its line, the quickest first, until one
fails (it is killed), all pass (it survives) or the time is up (killed too). ``--sample`` takes so many at random; a
larger sample of the same ``--seed`` begins with the smaller one. Results are kept in ``.cache/mutants``: a run that was
stopped goes on, and ``--again`` runs those that survived once more, for new tests. Score and survivors of one run are
in docs/testing.md.
"""

from __future__ import annotations

import argparse
import ast
import copy
import hashlib
import json
import os
import queue
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TARGETS = ("gateway/engine", "layer/records.py", "layer/tls_stream.py")
TESTS = ("tests/gateway/engine", "tests/layer")
MEMORY = 4 << 20
"""KiB of address space of a test run: a mutant may gather without end."""
HANGS = 40
"""Seconds that one test may take: a mutant may wait for ever."""
SURVIVED, KILLED, SLOW = "survived", "killed", "timed out"

COMPARISONS: Mapping[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Lt: (ast.GtE, ast.LtE),
    ast.LtE: (ast.Gt, ast.Lt),
    ast.Gt: (ast.LtE, ast.GtE),
    ast.GtE: (ast.Lt, ast.Gt),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
"""What takes the place of an operator: its opposite and, of an order, its neighbour at the bound."""
DELETED = (ast.Expr, ast.AugAssign, ast.Delete, ast.Raise, ast.Continue, ast.Break)
"""Statements that ``pass`` takes the place of; and assignments to something else than a plain name."""

PLAIN = (ast.Name, ast.Attribute, ast.Call, ast.NamedExpr)
"""Conditions that are negated: the others have an operator to change."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """``old`` at octet ``start`` of the file ``path`` becomes ``new``. ``statement``: the line on which its statement
    begins, as coverage knows it."""

    path: str
    statement: int
    line: int
    start: int
    old: bytes
    new: bytes
    kind: str

    @property
    def key(self) -> str:
        return f"{self.path}:{self.start}:{len(self.old)}:{self.new.decode()}"

    def applied(self, source: bytes) -> bytes:
        return source[: self.start] + self.new + source[self.start + len(self.old) :]

    def __str__(self) -> str:
        old, new = (" ".join(each.decode().split()) for each in (self.old, self.new))
        return f"{self.path}:{self.line} {self.kind}: `{old}` -> `{new}`"


def mutants(path: str, source: bytes) -> list[Mutant]:
    """All of one file, in the order of the text."""
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))

    def mutant(statement: int, node: ast.expr | ast.stmt, new: str, kind: str) -> Mutant:
        assert node.end_lineno is not None and node.end_col_offset is not None
        start = starts[node.lineno - 1] + node.col_offset
        end = starts[node.end_lineno - 1] + node.end_col_offset
        return Mutant(path, statement, node.lineno, start, source[start:end], new.encode(), kind)

    found = []
    for node, statement in _code(ast.parse(source)):
        found += [mutant(statement, node, new, kind) for new, kind in _replacements(node)]
        if isinstance(node, ast.If | ast.While | ast.IfExp) and isinstance(node.test, PLAIN):
            found.append(mutant(statement, node.test, f"(not {ast.unparse(node.test)})", "condition"))
    return sorted((each for each in found if _compiles(each, source)), key=lambda each: (each.start, each.new))


def _code(tree: ast.AST, statement: int = 0) -> Iterator[tuple[ast.expr | ast.stmt, int]]:
    """Everything that runs, and the line of its statement: no annotations, no docstrings, no imports."""
    for name, value in ast.iter_fields(tree):
        if name in ("annotation", "returns", "decorator_list", "type_params"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if not isinstance(child, ast.AST) or isinstance(child, ast.Import | ast.ImportFrom | ast.JoinedStr):
                continue
            if isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant):
                continue
            line = child.lineno if isinstance(child, ast.stmt) else statement
            if isinstance(child, ast.expr | ast.stmt):
                yield child, line
            yield from _code(child, line)


def _replacements(node: ast.expr | ast.stmt) -> Iterator[tuple[str, str]]:
    if isinstance(node, ast.Compare):
        for index, operator in enumerate(node.ops):
            for other in COMPARISONS[type(operator)]:
                changed = copy.deepcopy(node)
                changed.ops[index] = other()
                yield f"({ast.unparse(changed)})", "comparison"
    elif isinstance(node, ast.BoolOp):
        changed_to = ast.And() if isinstance(node.op, ast.Or) else ast.Or()
        yield f"({ast.unparse(ast.BoolOp(changed_to, node.values))})", "and/or"
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield f"({ast.unparse(node.operand)})", "not"
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield str(not node.value), "constant"
    elif isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        yield str(node.value + 1), "constant"
    elif isinstance(node, DELETED) or (
        isinstance(node, ast.Assign) and not any(isinstance(each, ast.Name | ast.Tuple) for each in node.targets)
    ):
        yield "pass", "statement"


def _compiles(mutant: Mutant, source: bytes) -> bool:
    try:
        compile(mutant.applied(source), mutant.path, "exec")
    except SyntaxError:
        return False
    return True


class Copy:
    """One copy of the project, for one test run at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(".*", "__pycache__", "home", "local"))

    def test(self, files: Sequence[str], seconds: float, *before: str) -> tuple[str, str]:
        """The outcome, and the end of what pytest wrote. ``before``: what comes between python and pytest."""
        options = [
            "-x",
            "-q",
            "--no-header",
            "--tb=line",
            "-p",
            "no:xdist",
            "--hypothesis-seed=1",
            f"--timeout={HANGS}",
        ]
        command = [sys.executable, "-B", *(before or ["-m"]), "pytest", *options, *files]
        process = subprocess.Popen(
            ["/bin/sh", "-c", f'ulimit -v {MEMORY}; exec "$@"', "sh", *command],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(self.folder), "PYTHONHASHSEED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            written, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            return SLOW, ""
        finally:
            shutil.rmtree(self.folder / ".hypothesis", ignore_errors=True)
        return (KILLED if process.returncode else SURVIVED), written.decode("utf-8", "replace")[-2000:]

    def run(self, mutant: Mutant, files: Sequence[str], seconds: float) -> str:
        place = self.folder / mutant.path
        source = place.read_bytes()
        place.write_bytes(mutant.applied(source))
        try:
            return self.test(files, seconds)[0]
        finally:
            place.write_bytes(source)


@dataclass(frozen=True, slots=True)
class Baseline:
    """Of each test file: how long it takes, and which lines of the targets it runs."""

    seconds: Mapping[str, float]
    lines: Mapping[str, Mapping[str, frozenset[int]]]

    def files(self, mutant: Mutant) -> list[str]:
        """The test files that run its statement, the quickest first."""
        found = [file for file, lines in self.lines.items() if mutant.statement in lines.get(mutant.path, ())]
        return sorted(found, key=self.seconds.__getitem__)

    def limit(self, files: Sequence[str]) -> float:
        return 20.0 + 4.0 * sum(self.seconds[file] for file in files)


def baseline(place: Copy, tests: Sequence[str], targets: Mapping[str, bytes], keep: Path) -> Baseline:
    """Runs every test file once without a mutant, under coverage; keeps the result while nothing changes."""
    files = sorted(
        str(each.relative_to(ROOT))
        for test in tests
        for each in ([ROOT / test] if test.endswith(".py") else (ROOT / test).rglob("test_*.py"))
    )
    mark = _digest([*targets.values(), *((ROOT / file).read_bytes() for file in files)])
    kept = keep / "baseline.json"
    known = json.loads(kept.read_text()) if kept.exists() else {}
    if known.get("mark") != mark:
        seconds, lines = {}, {}
        for number, file in enumerate(files, 1):
            print(f"{number} of {len(files)}: {file} without a mutant", flush=True)
            began = time.monotonic()
            data = f"--data-file={place.folder / 'coverage'}"
            include = f"--include={','.join(targets)}"
            outcome, written = place.test(
                [file], 600.0, "-m", "coverage", "run", "--rcfile=/dev/null", data, include, "-m"
            )
            if outcome != SURVIVED:
                raise SystemExit(f"{file} fails without a mutant:\n{written}")
            seconds[file] = time.monotonic() - began
            lines[file] = _lines(place, data)
        known = {"mark": mark, "seconds": seconds, "lines": lines}
        kept.write_text(json.dumps(known))
    return Baseline(
        known["seconds"],
        {
            file: {path: frozenset(numbers) for path, numbers in by_path.items()}
            for file, by_path in known["lines"].items()
        },
    )


def _lines(place: Copy, data: str) -> dict[str, list[int]]:
    written = subprocess.run(
        [sys.executable, "-m", "coverage", "json", "--rcfile=/dev/null", "-q", "-o", "-", data],
        cwd=place.folder,
        capture_output=True,
        check=False,
    ).stdout
    found = json.loads(written)["files"] if written.strip() else {}
    return {path: each["executed_lines"] for path, each in found.items()}


def _digest(parts: Sequence[bytes]) -> str:
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


class Results:
    """The outcome of each mutant, kept line by line; outcomes of a file that has changed are dropped."""

    def __init__(self, targets: Mapping[str, bytes], keep: Path) -> None:
        self._marks = {path: _digest([source]) for path, source in targets.items()}
        self.keep = keep
        self._place = keep / "results.jsonl"
        self.known: dict[str, str] = {}
        for line in self._place.read_text().splitlines() if self._place.exists() else ():
            entry = json.loads(line)
            if self._marks.get(entry["path"]) == entry["mark"]:
                self.known[entry["key"]] = entry["outcome"]

    def add(self, mutant: Mutant, outcome: str) -> None:
        self.known[mutant.key] = outcome
        entry = {"path": mutant.path, "mark": self._marks[mutant.path], "key": mutant.key, "outcome": outcome}
        with self._place.open("a") as file:
            file.write(json.dumps(entry) + "\n")


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="scripts/mutants.py", description=__doc__)
    parser.add_argument("targets", nargs="*", default=TARGETS, help=f"files or folders (default: {' '.join(TARGETS)})")
    parser.add_argument("--tests", action="append", help=f"test folders or files (default: {' '.join(TESTS)})")
    parser.add_argument("--sample", type=int, default=0, metavar="N", help="N mutants at random (default: all of them)")
    parser.add_argument("--seed", type=int, default=1, help="of the sample (default 1)")
    parser.add_argument("--jobs", type=int, default=1, help="test runs side by side (default 1)")
    parser.add_argument("--keep", type=Path, default=ROOT / ".cache" / "mutants", help="folder of the results")
    parser.add_argument("--again", action="store_true", help="run those again that survived")
    parser.add_argument("--report", action="store_true", help="run nothing; print what is known of the sample")
    parser.add_argument("--list", action="store_true", help="run nothing; print the sample")
    chosen = parser.parse_args(argv)

    targets = _sources(chosen.targets)
    sample = [each for path, source in targets.items() for each in mutants(path, source)]
    total = len(sample)
    random.Random(chosen.seed).shuffle(sample)
    sample = sample[: chosen.sample or total]
    if chosen.list:
        print("\n".join(map(str, sample)))
        return 0
    chosen.keep.mkdir(parents=True, exist_ok=True)
    results = Results(targets, chosen.keep)
    again = {SURVIVED} if chosen.again else set()
    left = [each for each in sample if results.known.get(each.key) in {None, *again}]
    if left and not chosen.report:
        _run(left, chosen.tests or TESTS, targets, results, chosen.jobs)
    return _report(sample, total, results)


def _sources(names: Sequence[str]) -> dict[str, bytes]:
    paths = [
        path for name in names for path in ([ROOT / name] if name.endswith(".py") else (ROOT / name).rglob("*.py"))
    ]
    return {str(path.relative_to(ROOT)): path.read_bytes() for path in sorted(paths)}


def _run(
    left: Sequence[Mutant], tests: Sequence[str], targets: Mapping[str, bytes], results: Results, jobs: int
) -> None:
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        places: queue.SimpleQueue[Copy] = queue.SimpleQueue()
        for number in range(jobs):
            places.put(Copy(Path(folder) / str(number)))
        first = places.get()
        base = baseline(first, tests, targets, results.keep)
        places.put(first)

        def one(mutant: Mutant) -> tuple[Mutant, str, float]:
            place = places.get()
            began = time.monotonic()
            try:
                files = base.files(mutant)
                outcome = place.run(mutant, files, base.limit(files)) if files else SURVIVED
            finally:
                places.put(place)
            return mutant, outcome, time.monotonic() - began

        with ThreadPoolExecutor(jobs) as pool:
            for number, (mutant, outcome, took) in enumerate(pool.map(one, left), 1):
                results.add(mutant, outcome)
                print(f"{number} of {len(left)}: {outcome} after {took:.1f} s, {mutant}", flush=True)


def _report(sample: Sequence[Mutant], total: int, results: Results) -> int:
    counted = Counter(results.known.get(each.key, "not run") for each in sample)
    run = sum(counted[each] for each in (KILLED, SLOW, SURVIVED))
    print(f"{len(sample)} of {total} mutants: " + ", ".join(f"{n} {what}" for what, n in sorted(counted.items())))
    if run:
        print(f"score: {100 * (run - counted[SURVIVED]) / run:.1f} % of {run} noticed")
    for mutant in sorted(sample, key=lambda each: (each.path, each.start)):
        if results.known.get(mutant.key) == SURVIVED:
            print(f"survived: {mutant}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
