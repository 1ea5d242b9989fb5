"""`python -m tests.bench [names] [--json FILE]`: run every bench_*.py here, print one table, write JSON.

A bench module has `run() -> list[Row]`. One that raises Skipped is listed with its reason; one that fails in
another way is listed as failed and the rest goes on. The exit status is 1 if a bar was missed or a bench failed.
"""

import argparse
import datetime
import importlib
import json
import os
import platform
import sys
import traceback
from dataclasses import asdict
from pathlib import Path

from tests.bench.report import Row, Skipped, table


def bench_names() -> list[str]:
    return sorted(path.stem.removeprefix("bench_") for path in Path(__file__).parent.glob("bench_*.py"))


def run_bench(name: str) -> list[Row]:
    try:
        rows: list[Row] = importlib.import_module(f"tests.bench.bench_{name}").run()
    except Skipped as reason:
        return [Row(f"{name}: not run, {reason}", None)]
    except Exception:  # noqa: BLE001 - one broken bench must not hide the numbers of the others
        traceback.print_exc()
        return [Row(f"{name}: failed, see above", None, bar="to run", ok=False)]
    return rows


def machine() -> dict[str, str | int | None]:
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "kernel": platform.release(),
        "processors": os.cpu_count(),
    }


def main() -> int:
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # a start would compile every module, as in no service
    known = bench_names()
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench", description="Measure, and show it beside a peer."
    )
    parser.add_argument("names", nargs="*", metavar="name", help=f"of {', '.join(known)}; all without a name")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows to FILE as well")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.names if name not in known]
    if unknown:
        parser.error(f"no bench {', '.join(unknown)}; there are {', '.join(known)}")
    rows: list[Row] = []
    for name in arguments.names or known:
        print(f"bench {name} ...", file=sys.stderr, flush=True)
        rows += run_bench(name)
    print(table(rows))
    if arguments.json:
        at = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        result = {"at": at, "machine": machine(), "rows": [asdict(row) for row in rows]}
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")
    return 1 if any(row.ok is False for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
