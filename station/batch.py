"""Many existing images: find them, analyse them in parallel, hand back a report each, in order.

Memory does not grow with the number of images: folders are read as they are walked (the names of one folder
at a time), a few images per process are under way, and a report is forgotten once it is handed on. A process
that dies over an image takes only that image with it: what was under way is done again one by one, and the
culprit becomes a refusal.

Processes are local by default; `scheduler` is the address of a Dask cluster, whose workers need this package
and the same paths.
"""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import cast

import cv2

from station.existing import Report, Request, analyse_file
from station.image_file import looks_like_dicom, looks_like_picture
from station.result import Reason
from station.results_file import Results
from station.summary import refusal
from station.workers import processes

_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".dcm", ".dicom"})
_MAGIC_BYTES = 132  # DICOM's preamble and prefix
_UNDER_WAY = 3  # images per process: one in work, and enough waiting to cover a slow neighbour
_CONNECT_S = 10


class ClusterUnusable(ValueError):  # noqa: N818  reads as the message it is
    """The cluster cannot be used; the message says why."""


class NothingToDo(ValueError):  # noqa: N818  reads as the message it is
    """No image where images were expected."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A run: what to look at, what to ask of it, where to work and where to write."""

    sources: tuple[Path, ...]  # files and folders
    request: Request
    jobs: int = 1  # local processes
    scheduler: str | None = None
    out: Path | None = None
    resume: bool = False

    def __post_init__(self) -> None:
        if self.jobs < 1:
            raise ValueError(f"--jobs {self.jobs}: at least one process is needed")
        if self.resume and self.out is None:
            raise ValueError("--resume continues a results file: name it with --out")

    @property
    def single(self) -> bool:
        """One file, not a folder."""
        return len(self.sources) == 1 and not self.sources[0].is_dir()


@dataclass(frozen=True, slots=True)
class Run:
    """A prepared run. `reports` is to be consumed once."""

    total: int  # images still to be analysed
    skipped: int  # found in the results file
    reports: Iterator[Report]


@contextmanager
def prepared(plan: Plan) -> Generator[Run]:
    """Open the results file, count the images, then analyse them as `reports` is consumed.

    Raises
    ------
    NothingToDo, ClusterUnusable, ResultsUnusable, ValueError
        Before the first image is looked at.
    """
    pool = None if plan.single and plan.scheduler is None else _pool(plan)
    total = sum(1 for _ in find_images(plan.sources, plan.request.overlays))
    if not total:
        raise NothingToDo(f"no PNG, JPEG or DICOM file in {', '.join(map(str, plan.sources))}")
    if plan.request.overlays is not None:
        plan.request.overlays.mkdir(parents=True, exist_ok=True)
    results = Results(plan.out, resume=plan.resume) if plan.out else None
    complete = False
    try:
        left = total if results is None else sum(1 for _ in _unfinished(plan, results))
        yield Run(left, total - left, _written(_reports(plan, results, pool), results))
        complete = True
    finally:
        if results is not None:
            results.close(complete=complete)


def find_images(sources: Iterable[Path], besides: Path | None = None) -> Iterator[Path]:
    """Files as given, and the images below folders in the order of their names, without the folder `besides`.

    A folder that cannot be read is handed on like a file: it is then refused with the system's reason.
    """
    for source in sources:
        if source.is_dir():
            yield from _walk(source, besides and besides.resolve())
        else:
            yield source


def _walk(folder: Path, besides: Path | None) -> Iterator[Path]:
    if besides is not None and folder.resolve() == besides:
        return
    try:
        with os.scandir(folder) as found:
            entries = sorted((e.name, e.is_dir(follow_symlinks=False), e.is_file()) for e in found)
    except OSError:
        yield folder
        return
    for name, is_folder, is_file in entries:
        path = folder / name
        if is_folder:
            yield from _walk(path, besides)
        elif is_file and _is_image(path):
            yield path


def _is_image(path: Path) -> bool:
    """By suffix, so that a damaged image is told about, or by its first bytes; a DICOMDIR is no image."""
    if path.suffix.lower() in _SUFFIXES:
        return True
    if path.suffix or path.name == "DICOMDIR":
        return False
    try:
        with path.open("rb") as file:
            start = file.read(_MAGIC_BYTES)
    except OSError:
        return True
    return looks_like_dicom(start) or looks_like_picture(start)


def _unfinished(plan: Plan, results: Results | None) -> Iterator[Path]:
    found = find_images(plan.sources, plan.request.overlays)
    return found if results is None else (path for path in found if not results.finished(str(path)))


def _written(reports: Iterator[Report], results: Results | None) -> Iterator[Report]:
    for report in reports:
        if results is not None:
            results.write(report)
        yield report


@dataclass(frozen=True, slots=True)
class _Pool:
    """Where images are analysed."""

    open: Callable[[int], AbstractContextManager[Executor]]  # by number of processes
    processes: int
    lost: tuple[type[BaseException], ...]  # how a process that died over an image shows


def _reports(plan: Plan, results: Results | None, pool: _Pool | None) -> Iterator[Report]:
    paths = _unfinished(plan, results)
    if pool is None:
        yield from (analyse_file(path, plan.request) for path in paths)
    elif pool.processes == 1 and plan.scheduler is None:
        yield from (_on_one_core(path, plan.request) for path in paths)
    else:
        yield from _in_parallel(paths, plan.request, pool)


def _on_one_core(path: Path, request: Request) -> Report:
    cv2.setNumThreads(1)  # processes share the cores, threads would only fight for them
    return analyse_file(path, request)


def _in_parallel(paths: Iterator[Path], request: Request, pool: _Pool) -> Iterator[Report]:
    again: list[Path] = []
    while True:
        with pool.open(pool.processes) as executor:
            under_way = deque(
                (path, _submit(executor, path, request))
                for path in islice(paths, _UNDER_WAY * pool.processes)
            )
            while under_way:
                try:
                    report = under_way[0][1].result()
                except pool.lost:
                    break
                under_way.popleft()
                yield report
                under_way.extend((path, _submit(executor, path, request)) for path in islice(paths, 1))
            again = [path for path, _ in under_way]
        if not again:
            return
        yield from (_alone(path, request, pool) for path in again)


def _submit(executor: Executor, path: Path, request: Request) -> Future[Report]:
    try:
        return executor.submit(_on_one_core, path, request)
    except BrokenExecutor as error:
        broken: Future[Report] = Future()
        broken.set_exception(error)
        return broken


def _alone(path: Path, request: Request, pool: _Pool) -> Report:
    """In a process of its own, so that if one dies it is known over which image."""
    with pool.open(1) as executor:
        try:
            return _submit(executor, path, request).result()
        except pool.lost:
            message = f"{path}: the process that analysed it died"
            remedy = "Look for too little memory; report the image if it dies again."
            return refusal(str(path), request.side, [Reason("analysis-died", message, remedy)])


def _pool(plan: Plan) -> _Pool:
    if plan.scheduler is None:
        return _Pool(processes, plan.jobs, (BrokenExecutor,))
    return _cluster(plan.scheduler)


def _cluster(address: str) -> _Pool:
    try:
        from distributed import Client  # pyright: ignore[reportMissingImports]  an extra
        from distributed.scheduler import KilledWorker  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ClusterUnusable("--scheduler needs Dask: pip install 'dxr-station[cluster]'") from error
    try:
        with Client(address, timeout=_CONNECT_S) as client:
            threads = cast("dict[str, int]", client.nthreads())  # a coroutine only for asynchronous clients
            count = sum(threads.values())
    except (OSError, ValueError) as error:
        raise ClusterUnusable(f"no Dask scheduler answers at {address} ({error})") from error
    if not count:
        raise ClusterUnusable(f"the Dask scheduler at {address} has no workers; start some")

    @contextmanager
    def connect(_: int) -> Generator[Executor]:
        with Client(address, timeout=_CONNECT_S) as client, client.get_executor(pure=False) as executor:
            yield executor

    return _Pool(connect, count, (BrokenExecutor, KilledWorker))
