"""Compares the goldens of two revisions without free text: keys, words, numbers and order must be equal.

usage: python -m tests.tools.same_documents REVISION

Free text may be reworded at any time: the fields of FREE_TEXT in JSON, and HELP in metrics. The text goldens
(*.txt) are free text as a whole. Everything else is a contract.
"""

from __future__ import annotations

import json
import subprocess
import sys

from tests.conftest import PROJECT

FREE_TEXT = frozenset(("title", "seen", "wanted", "why", "remedy", "summary", "reasons", "detail"))
GOLDENS = "tests/golden"


def reduce_json(value: object) -> object:
    """Return a document with each free text replaced by nothing; a list of sentences keeps its length."""
    if isinstance(value, dict):
        return {
            key: (len(part) if isinstance(part, list) else None) if key in FREE_TEXT else reduce_json(part)
            for key, part in value.items()
        }
    if isinstance(value, list):
        return [reduce_json(part) for part in value]
    return value


def reduce_hazards(document: object) -> object:
    """Return a report with the number of its hazards, which are sentences."""
    if isinstance(document, dict) and isinstance(document.get("verdict"), dict):
        document["verdict"]["hazards"] = len(document["verdict"]["hazards"])
    return document


def contract_of(name: str, text: str) -> str:
    """Return what must not change of a golden."""
    if name.endswith(".json"):
        return json.dumps(reduce_hazards(reduce_json(json.loads(text))))
    if name.endswith(".prom"):
        return "\n".join(line for line in text.splitlines() if not line.startswith("# HELP"))
    return ""


def main() -> int:
    """Compare every golden of the revision with the working tree."""
    listed = ["git", "ls-tree", "--name-only", sys.argv[1], f"{GOLDENS}/"]
    names = subprocess.run(listed, cwd=PROJECT, capture_output=True, text=True, check=True).stdout.split()
    changed = []
    for name in names:
        shown = ["git", "show", f"{sys.argv[1]}:{name}"]
        before = subprocess.run(shown, cwd=PROJECT, capture_output=True, text=True, check=True).stdout
        if contract_of(name, before) != contract_of(name, (PROJECT / name).read_text()):
            changed.append(name)
    print(f"{len(names)} goldens compared, {len(changed)} differ: {' '.join(changed)}")
    return 1 if changed or not names else 0


if __name__ == "__main__":
    sys.exit(main())
