"""`python -m tests.fuzz [--seconds N] [TARGET ...]`: coverage-guided fuzzing with atheris, all targets by default.

Each target has its share of the seconds, in a process of its own. What coverage found worth keeping stays in
build/fuzz/TARGET and is where the next run begins; an input that breaks something is written there too, and named:
put it into tests/fuzz/found as TARGET-what-it-was.bin, where it is a test from then on.
"""

import argparse
import hashlib
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
BUILD = ROOT / "build" / "fuzz"
FOUND = Path(__file__).parent / "found"
NAMES = (
    *("parser", "stream", "sdp", "digest", "core", "h264", "program"),
    *("rtp", "srtp", "rtcp", "event", "stun", "dtls"),
)
LONGEST = {"program": 450, "digest": 600, "sdp": 4000}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", choices=[*NAMES, []], metavar="TARGET", help=", ".join(NAMES))
    parser.add_argument("--seconds", type=int, default=60, help="for all targets together")
    parser.add_argument("--within", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    chosen = options.targets or list(NAMES)
    if options.within:
        fuzz(chosen[0], options.seconds)
        return 0
    share = max(5, options.seconds // len(chosen))
    failed = []
    for name in chosen:
        print(f"--- {name}: {share} s", flush=True)
        command = [sys.executable, "-m", "tests.fuzz", name, "--seconds", str(share), "--within"]
        if subprocess.run(command, cwd=ROOT, check=False).returncode:
            failed.append(name)
    broken = [str(path.relative_to(ROOT)) for name in chosen for path in BUILD.glob(f"{name}-broken-*")]
    print(f"--- {len(chosen) - len(failed)} of {len(chosen)} targets held", *broken, sep="\n    ")
    return 1 if failed else 0


def fuzz(name: str, seconds: int) -> None:
    """Never returns: libFuzzer ends the process, with 0 where nothing broke."""
    import atheris

    with atheris.instrument_imports(include=["firmware"]):
        from tests.fuzz import targets
    corpus = BUILD / name
    corpus.mkdir(parents=True, exist_ok=True)
    for seed in (*targets.seeds(name), *(file.read_bytes() for file in FOUND.glob(f"{name}-*"))):
        (corpus / hashlib.sha1(seed, usedforsecurity=False).hexdigest()).write_bytes(seed)
    arguments = [
        f"-max_total_time={seconds}",
        f"-max_len={LONGEST.get(name, 6000)}",
        "-timeout=10",  # an input that takes longer is a finding
        "-rss_limit_mb=1024",
        f"-artifact_prefix={BUILD}/{name}-broken-",
        "-print_final_stats=1",
        "-verbosity=1",
        str(corpus),
    ]
    atheris.Setup(["fuzz", *arguments], targets.TARGETS[name], enable_python_coverage=True)
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
