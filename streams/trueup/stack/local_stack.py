"""The local stack as a whole: `LocalStack` brings its parts up, watches them, takes them down."""

from __future__ import annotations

import enum
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import msgspec

from trueup.model.errors import Refused
from trueup.stack import artifacts
from trueup.stack.connect import ConnectPart
from trueup.stack.credentials import stack_addresses, write_private, write_secret_files
from trueup.stack.kafka import KafkaPart
from trueup.stack.part import Part, start
from trueup.stack.postgres import PostgresPart
from trueup.stack.prometheus import observing_parts, refuse_without_program
from trueup.stack.registry import RegistryPart
from trueup.stack.settings import StackAddresses, StackSettings, decode_settings, encode_settings

_STOP_TIMEOUT_S = 20.0  # Kafka and Connect need 2 to 8 s
_SETTINGS_FILE = "stack.json"
_LOCK_FILE = "lock"


class Phase(enum.StrEnum):
    """What is happening to a part."""

    FETCHING = "fetching"
    STARTING = "starting"
    READY = "ready"
    STOPPING = "stopping"
    STOPPED = "stopped"


class StackEvent(msgspec.Struct, frozen=True, kw_only=True):
    """News about one part, for whoever shows progress.

    :param subject: a part, or the file being fetched.
    :param bytes_done: while fetching, of `bytes_total`.
    :param seconds: since the beginning of `up` or `down`.
    """

    subject: str
    phase: Phase
    bytes_done: int = 0
    bytes_total: int = 0
    seconds: float = 0.0


OnProgress = Callable[[StackEvent], None]


class PartStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How one part is.

    :param ready: it runs and answers.
    """

    part: str
    pid: int | None
    ready: bool
    ports: tuple[int, ...]
    log: Path


class LocalStack:
    """One local stack. All state is on disk: any object on the same folder sees and steers the same stack."""

    def __init__(self, settings: StackSettings) -> None:
        self.settings = settings

    @classmethod
    def at(cls, state_dir: Path) -> LocalStack:
        """Return the stack that lives in a folder, with the settings it was brought up with."""
        path = state_dir / _SETTINGS_FILE
        if not cls.exists_at(state_dir):
            msg = f'there is no local stack in "{state_dir}"'
            raise Refused(msg, hint="bring one up: trueup stack up")
        return cls(msgspec.structs.replace(decode_settings(path.read_bytes()), state_dir=state_dir))

    @staticmethod
    def exists_at(state_dir: Path) -> bool:
        """Tell whether a stack was brought up in a folder and not purged since."""
        return (state_dir / _SETTINGS_FILE).exists()

    @property
    def part_names(self) -> list[str]:
        """Names of all parts, in the order they start."""
        return [part.name for stage in self._stages() for part in stage]

    def addresses(self) -> StackAddresses:
        """Return where the parts are reached."""
        return stack_addresses(self.settings)

    def up(self, on_progress: OnProgress | None = None) -> StackAddresses:
        """Bring everything up. Parts that run and answer are left alone.

        1. refuse a folder that belongs to a stack of other settings; remember the settings;
        2. fetch what is not in the cache;
        3. start the parts, stage by stage, those of a stage at once;
        4. write the addresses and passwords down.
        """
        report = _Reporter(on_progress)
        if self.settings.observability is not None:
            refuse_without_program(self.settings)
        self._make_state_dir()
        with artifacts.exclusive(self.settings.state_dir / _LOCK_FILE):
            self._remember_settings()  # 1
            for bundle in artifacts.missing_bundles(self.settings.cache_dir):  # 2
                artifacts.fetch_bundle(
                    bundle, self.settings.cache_dir, maven_url=self.settings.maven_url, meter=report.meter
                )
            write_secret_files(self.settings)  # 4, before Connect starts: it reads them
            for stage in self._stages():  # 3
                _all_at_once(lambda part: self._start(part, report), stage)
        return self.addresses()

    def down(self, on_progress: OnProgress | None = None, *, purge: bool = False) -> None:
        """Take everything down, last started first. Only processes this stack started are ended.

        :param purge: then remove all state; the cache of downloads stays.
        """
        state_dir = self.settings.state_dir
        if not state_dir.exists():
            return
        report = _Reporter(on_progress)
        with artifacts.exclusive(state_dir / _LOCK_FILE):
            for stage in reversed(self._stages()):
                _all_at_once(lambda part: self._stop(part, report), stage)
            if purge:
                self._purge()

    def status(self) -> list[PartStatus]:
        """Look at every part."""
        parts = [part for stage in self._stages() for part in stage]
        with ThreadPoolExecutor(len(parts)) as pool:
            return list(pool.map(_status, parts))

    def logs(self, part: str) -> Path:
        """Return the log file of a part."""
        return self._part(part).process.log_file

    def start_part(self, part: str, on_progress: OnProgress | None = None) -> None:
        """Start one part and wait until it works; nothing if it already does."""
        self._start(self._part(part), _Reporter(on_progress))

    def stop_part(self, part: str) -> None:
        """Stop one part."""
        self._stop(self._part(part), _Reporter(None))

    def kill_part(self, part: str) -> None:
        """End one part and its children with SIGKILL."""
        self._part(part).process.kill()

    def _stages(self) -> list[list[Part]]:
        """Return the parts in the order of what they need: Connect needs brokers, the rest needs nothing."""
        settings = self.settings
        brokers: list[Part] = [KafkaPart(settings, node) for node in range(1, settings.brokers + 1)]
        servers: list[Part] = [PostgresPart(settings, database) for database in settings.databases]
        observing = observing_parts(settings)
        stages: list[list[Part]] = [[*brokers, *servers], [ConnectPart(settings), RegistryPart(settings)]]
        return [*stages, observing] if observing else stages

    def _part(self, name: str) -> Part:
        """Find a part by its name."""
        for stage in self._stages():
            for part in stage:
                if part.name == name:
                    return part
        msg = f'the local stack has no part "{name}"'
        raise Refused(msg, hint=f"its parts are: {', '.join(self.part_names)}")

    def _start(self, part: Part, report: _Reporter) -> None:
        """Start one part, saying so."""
        report(part.name, Phase.STARTING)
        start(part, self.settings.start_timeout_s)
        report(part.name, Phase.READY)

    def _stop(self, part: Part, report: _Reporter) -> None:
        """Stop one part, saying so if there is something to stop."""
        running = part.process.pid() is not None
        if running:
            report(part.name, Phase.STOPPING)
        part.process.stop(part.stop_signal, _STOP_TIMEOUT_S)
        if running:
            report(part.name, Phase.STOPPED)

    def _make_state_dir(self) -> None:
        """Make the state folder. Others may pass through (a server that is not root), not look around."""
        self.settings.state_dir.mkdir(parents=True, exist_ok=True)
        self.settings.state_dir.chmod(0o711)

    def _remember_settings(self) -> None:
        """Keep the settings the state belongs to: a cluster of one broker cannot become one of three."""
        path = self.settings.state_dir / _SETTINGS_FILE
        if path.exists():
            kept = decode_settings(path.read_bytes())
            if (kept.brokers, kept.port_base, kept.databases) != (
                self.settings.brokers,
                self.settings.port_base,
                self.settings.databases,
            ):
                raise Refused(
                    f'the folder "{self.settings.state_dir}" holds a local stack of other settings',
                    detail=f"{kept.brokers} brokers, port base {kept.port_base}, databases {', '.join(kept.databases)}",
                    hint="use another state folder, or remove that stack: trueup stack down --purge",
                )
            if self.settings.observability is None:  # what was started once is known until it is purged
                self.settings = msgspec.structs.replace(self.settings, observability=kept.observability)
        write_private(path, encode_settings(self.settings))

    def _purge(self) -> None:
        """Remove the state, unless the folder is not a stack's."""
        state_dir = self.settings.state_dir
        if not (state_dir / _SETTINGS_FILE).exists():
            msg = f'"{state_dir}" is not the folder of a local stack; nothing was removed'
            raise Refused(msg, hint="name the folder that was given to stack up")
        for database in self.settings.databases:
            PostgresPart(self.settings, database).remove()
        shutil.rmtree(state_dir)


class _Reporter:
    """Hands news on, with the time since the beginning."""

    def __init__(self, on_progress: OnProgress | None) -> None:
        self._on_progress = on_progress
        self._began = time.monotonic()

    def __call__(self, subject: str, phase: Phase, bytes_done: int = 0, bytes_total: int = 0) -> None:
        if self._on_progress is not None:
            seconds = time.monotonic() - self._began
            self._on_progress(
                StackEvent(
                    subject=subject,
                    phase=phase,
                    bytes_done=bytes_done,
                    bytes_total=bytes_total,
                    seconds=seconds,
                )
            )

    @contextmanager
    def meter(self, file_name: str, bytes_total: int) -> Iterator[Callable[[int], None]]:
        """Report one download."""
        bytes_done = 0

        def advance(count: int) -> None:
            nonlocal bytes_done
            bytes_done += count
            self(file_name, Phase.FETCHING, bytes_done, bytes_total)

        yield advance


def _status(part: Part) -> PartStatus:
    """Look at one part."""
    pid = part.process.pid()
    ready = pid is not None and part.is_ready()
    return PartStatus(part=part.name, pid=pid, ready=ready, ports=part.ports, log=part.process.log_file)


def _all_at_once(action: Callable[[Part], None], parts: Iterable[Part]) -> None:
    """Do something with several parts in parallel; wait for all, then raise the failure that came first.

    The others may be its consequence: a broker waits for its quorum for a minute when another could not start.
    """
    failures: list[Exception] = []  # in the order in which they came

    def attempt(part: Part) -> None:
        try:
            action(part)
        except Exception as failure:
            failures.append(failure)

    parts = list(parts)
    with ThreadPoolExecutor(len(parts)) as pool:
        list(pool.map(attempt, parts))
    if failures:
        raise failures[0]
