"""Parts of a GPU run that end well, hang and die; started as `benchmarks.gpu_parts` is."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

from benchmarks.gpu_notes import Notes, watch

if __name__ == "__main__":
    part, _, device, _, folder, _, until = sys.argv[1:]
    setup = Path(folder, "setup")
    notes = Notes(Path(folder), part, json.loads(setup.read_text()) if setup.is_file() else {"device": device})
    notes.figure("process", os.getpid(), "")
    if part == "hangs":
        watch(float(until))
    if part in ("hangs", "stuck"):
        time.sleep(600)
    if part == "dies":
        os._exit(7)
    notes.check("a check", part != "wrong", "as it was found")
    notes.end()
