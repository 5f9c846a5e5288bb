"""Times of work on a GPU: CUDA graphs between CUDA events, so that Python's own time stays out."""

import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

Work = Callable[[], object]


def interleave_on_gpu(
    candidates: dict[str, Sequence[Work]], rounds: int = 21
) -> dict[str, dict[str, float]]:
    """Milliseconds of one call of each candidate; they take turns.

    Args:
        candidates: under each name the same work on several sets of tensors, run one after the
            other, so that together they do not fit into the cache.
        rounds: how often each has its turn, after two that are not timed.

    Returns:
        Of each candidate wall_median_ms and wall_min_ms. A candidate that cannot be captured in a
        graph (it waits for the GPU) is timed call by call.
    """
    runs = {name: (_captured(work), len(work)) for name, work in candidates.items()}
    taken: dict[str, list[float]] = {name: [] for name in candidates}
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    for turn in range(rounds + 2):
        for name, (run, calls) in runs.items():
            torch.cuda.synchronize()
            begin.record()
            run()
            end.record()
            end.synchronize()
            if turn >= 2:
                taken[name].append(begin.elapsed_time(end) / calls)
    return {
        name: {
            "wall_median_ms": round(statistics.median(times), 5),
            "wall_min_ms": round(min(times), 5),
        }
        for name, times in taken.items()
    }


def _captured(work: Sequence[Work]) -> Work:
    """All of the work as one graph, or one call after the other where it cannot be one."""

    def one_by_one() -> None:
        for run in work:
            run()

    with side_stream() as stream:
        one_by_one()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph, stream=stream):
            one_by_one()
    except RuntimeError:
        torch.cuda.synchronize()
        return one_by_one
    return graph.replay


@contextmanager
def side_stream() -> Iterator[torch.cuda.Stream]:
    """The stream of captures. Autograd runs a backward where its forward ran: run both here."""
    stream = _stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        yield stream
    torch.cuda.current_stream().wait_stream(stream)


_STREAMS: list[torch.cuda.Stream] = []


def _stream() -> torch.cuda.Stream:
    if not _STREAMS:
        _STREAMS.append(torch.cuda.Stream())
    return _STREAMS[0]


def copy_gb_s() -> float:
    """Bandwidth of a copy of 2 GiB, bytes read and written, in GB/s."""
    source = torch.ones(1 << 31, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    times = interleave_on_gpu({"copy": [lambda: target.copy_(source)]})["copy"]
    return 2 * source.numel() / times["wall_median_ms"] / 1e6


def sets_beyond_cache(*tensors: Tensor) -> int:
    """How many sets of such tensors are twice as large as the cache; at most 8."""
    cache = torch.cuda.get_device_properties(0).L2_cache_size
    held = sum(one.numel() * one.element_size() for one in tensors)
    return min(8, max(1, -(-2 * cache // max(1, held))))
