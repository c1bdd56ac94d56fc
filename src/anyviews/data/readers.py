"""Readers of a stream: the loader workers of all processes, which share its samples."""

from torch.utils.data import get_worker_info


def check_rank(rank: int, world_size: int) -> None:
    """Raise ValueError if there is no process of this rank."""
    if not 0 <= rank < world_size:
        raise ValueError(f"rank {rank} is outside a world of {world_size}; accepted are 0 to {world_size - 1}")


def current_reader(rank: int, world_size: int) -> tuple[int, int]:
    """Index of this worker among the workers of all processes, and their number."""
    info = get_worker_info()
    worker, workers = (info.id, info.num_workers) if info else (0, 1)
    return rank * workers + worker, world_size * workers


def check_readers(state: dict, readers: int) -> None:
    """Raise ValueError if a state was taken by another number of readers, which share the samples differently."""
    if state["readers"] != readers:
        raise ValueError(
            f"this state was taken with {state['readers']} readers (processes x workers) but there are {readers}; "
            "resume with the same number, or start the data afresh with another seed"
        )
