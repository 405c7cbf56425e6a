"""Runs a script in a Python process that shares nothing with this one but what is installed."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap


def in_fresh_interpreter(script: str, payload: bytes = b"") -> bytes:
    """What ``script`` prints as bytes, given ``payload`` on its standard input.

    The script finds the input in ``payload`` and answers by ``reply(data)``.
    """
    prologue = """
        import sys
        payload = sys.stdin.buffer.read()
        reply = sys.stdout.buffer.write
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(prologue) + textwrap.dedent(script)],
        input=payload,
        capture_output=True,
        cwd=os.sep,  # so that the modules beside the tests cannot be imported
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout
