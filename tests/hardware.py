#!/usr/bin/env python3
"""The acceptance run against whatever answers on a port: a real board, or an emulated one.

usage: hardware.py --port PATH --package FILE [--baud N] [--bus BUS]

It starts a wipyd of its own on a private bus, and does with the board what a person would: reads it, flashes it, reads
it again, flashes it again (nothing may be written), and compares what the board says of itself at the end. Where the
port has no reset lines it asks the person at the keyboard to work the wire and the button, by what wipyd says.
It writes to the board: what the board holds that is its own is saved under the folder that it names.
"""
import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "integration"))

from harness import Bench  # noqa: E402

CONNECT_S = 120
FLASH_S = 1200


class Run:
    def __init__(self, bench, device):
        self.bench, self.device, self.n_passed, self.n_failed = bench, device, 0, 0

    def check(self, what, is_right, detail=""):
        self.n_passed += bool(is_right)
        self.n_failed += not is_right
        print(f"{'ok  ' if is_right else 'FAIL'} {what}{': ' if detail else ''}{detail}", flush=True)
        return is_right

    def wipyctl(self, *arguments):
        """Runs it with its output (what a person has to do, the progress) on the terminal; gives the last document."""
        print(f"$ wipyctl {' '.join(arguments)}", flush=True)
        client = self.bench.start_ctl("--json=short", *arguments)
        for line in client.stderr:
            print("  " + line.rstrip(), flush=True)
        out = client.stdout.read()
        return client.wait(timeout=FLASH_S), json.loads(out) if out.strip() else {}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", required=True)
    parser.add_argument("--package", required=True)
    parser.add_argument("--baud", default="115200")
    options = parser.parse_args()
    for name, path in (("PORT", options.port), ("PACKAGE", options.package)):
        if not path or not Path(path).exists():
            parser.error(f"{name}={path or ''} does not exist: make check-hardware PORT=/dev/ttyUSB0 PACKAGE=FILE.tar.gz")

    kept = tempfile.mkdtemp(prefix="wipyd-hardware-")
    print(f"what the board holds of its own is saved below {kept}/backup")
    with Bench(boards=0, ports=[os.path.abspath(options.port)], connect_timeout=CONNECT_S) as bench:
        bench.stop_wipyd()
        bench.state = Path(kept)
        bench.write_config()
        bench.start_wipyd()
        device = Path(options.port).name
        run = Run(bench, device)

        code, info = run.wipyctl("info", device)
        if run.check("the chip answers and is known", code == 0, info.get("chip", info.get("error", ""))):
            code, job = run.wipyctl("flash", device, options.package, "--baud", options.baud)
            run.check("flashed and verified", code == 0 and job.get("state") == "done",
                      job.get("error_text", "") or f"{job.get('bytes_total', 0)} bytes, {job.get('rate', 0)} bytes/s")
            regions = job.get("regions", [])
            run.check("every piece is written or was right", regions and all(r["state"] in ("written", "equal")
                                                                            for r in regions), f"{len(regions)} pieces")
            code, again = run.wipyctl("flash", device, options.package, "--baud", options.baud)
            run.check("the same again writes nothing", code == 0 and again.get("bytes_total") == 0)
            code, after = run.wipyctl("info", device)
            run.check("the flash names the release of the package", code == 0 and after.get("release") == job.get("release"),
                      after.get("release", ""))
            run.check("the board's own data were saved", any(Path(kept).glob("backup/*/*/config.bin")) or
                      job.get("bytes_total") == 0)
    print(f"{run.n_passed} passed, {run.n_failed} failed")
    return 1 if run.n_failed else 0


if __name__ == "__main__":
    sys.exit(main())
