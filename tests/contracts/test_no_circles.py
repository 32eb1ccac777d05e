"""No two modules of this project need each other, at run time, in a function or for a type only.

import-linter's ``acyclic_siblings`` asks for less (packages as wholes) and more (a package's parts may not interleave);
this asks about single modules. A package's ``__init__`` is loaded before any module in it, so each of them needs it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from graphlib import CycleError, TopologicalSorter

import grimp

ROOMS = ("common", "layer", "carriage", "endpoint", "gateway", "adapters", "simulator", "bench", "demo")


def circle(needs: Mapping[str, Iterable[str]]) -> list[str]:
    """The modules of one circle, each needing the one before it; none: an empty list."""
    try:
        TopologicalSorter(needs).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def needs_of(graph: grimp.ImportGraph) -> dict[str, set[str]]:
    found = {name: set(graph.find_modules_directly_imported_by(name)) for name in graph.modules}
    for name, imported in found.items():
        if name.count("."):
            imported.add(name.rpartition(".")[0])
    return found


def test_no_module_needs_itself_by_way_of_others() -> None:
    graph = grimp.build_graph(*ROOMS, exclude_type_checking_imports=False, cache_dir=None)
    assert len(graph.modules) > 300
    assert circle(needs_of(graph)) == []


def test_a_circle_is_found_whatever_kind_of_import_closes_it() -> None:
    graph = grimp.ImportGraph()
    for importer, imported in (("a.main", "a.one"), ("a.one", "a.two"), ("a.two", "a.main")):
        graph.add_import(importer=importer, imported=imported)
    assert set(circle(needs_of(graph))) == {"a.main", "a.one", "a.two"}


def test_a_package_that_imports_its_own_module_is_a_circle() -> None:
    graph = grimp.ImportGraph()
    graph.add_import(importer="a", imported="a.one")
    assert set(circle(needs_of(graph))) == {"a", "a.one"}
