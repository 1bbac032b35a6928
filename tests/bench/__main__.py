"""`python -m tests.bench [NAME...]`: run every module here that defines `run()`, or the named ones."""

from __future__ import annotations

import importlib
import pkgutil
import sys

import tests.bench


def main() -> int:
    """Run them one after the other; a name that is no benchmark ends with status 2."""
    names = sys.argv[1:] or [module.name for module in pkgutil.iter_modules(tests.bench.__path__)]
    modules = [importlib.import_module(f"tests.bench.{name}") for name in names if name != "__main__"]
    if strange := [module.__name__ for module in modules if sys.argv[1:] and not hasattr(module, "run")]:
        print(f"no benchmark: {', '.join(strange)}", file=sys.stderr)
        return 2
    for module in modules:
        if hasattr(module, "run"):
            module.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
